"""LaTeX's tables compile, and none runs off a page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pedro_bench.reporting.text import PREAMBLE, escape_latex, latex, markdown
from tests.unit.analysis.runs import built, five, only, run

RESULTS = Path(__file__).resolve().parents[3] / "results"
EVERY_SIGN = (
    "".join(map(chr, range(32, 127))) + "→←≤≥≠±×·∞†−–—‘’“”…§µ äÉçñøłßŠœæıì\t\n\0Ω漢字 ж 🙂 e\u0301"
)


@pytest.fixture
def compiled(tmp_path):
    """Compile a document of some tables; return what ran off a page."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex (apt-get install texlive-latex-recommended)")

    def compile_(*texts):
        document = tmp_path / "minimal.tex"
        begin = f"\\documentclass{{article}}{PREAMBLE}\\begin{{document}}\n"
        document.write_text(begin + "\\clearpage\n".join(texts) + "\\end{document}\n")
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", document.name]
        for _ in range(3):  # longtable finds its widths in several passes
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
            assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
        assert document.with_suffix(".pdf").stat().st_size > 1000
        log = document.with_suffix(".log").read_text(errors="replace")
        return [
            line
            for line in log.splitlines()
            if "Float too large" in line
            or ((wide := re.match(r"Overfull \\hbox \((.*?)pt", line)) and float(wide[1]) > 2)
        ]

    return compile_


def test_the_tables_of_the_committed_records_fit_on_their_pages(compiled):
    assert compiled(*map(latex, built(RESULTS))) == []


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("(IA)$^3$", "(IA)$^3$"),
        (r"FT$^{\mathrm{top2}}$ \& more", r"FT$^{\mathrm{top2}}$ \& more"),
        ("50% A & B #1 a_b", r"50\% A \& B \#1 a\_b"),
        ("$α_1$ é 漢", r"$\alpha _1$ \'{e} [U+6F22]"),
        ("costs $5", "costs 5"),
        ("a{b", "ab"),
        (None, r"my\_method"),
    ],
)
def test_a_label_cannot_break_its_row(label, shown, tmp_path):
    groups = {} if label is None else {"method": {"label": label}}
    config = {"method": {"name": "my_method"}} if label is None else None
    run(tmp_path, "my_method", groups=groups, **({"config": config} if config else {}))
    (row,) = [line for line in latex(only(tmp_path)).splitlines() if "80.00" in line]
    assert f"{shown} & -- & " in row


def test_settings_and_errors_of_any_letters_compile_and_fit(compiled, tmp_path):
    for r, score in (("a&b", 60.0), ("c%d_{e}", 70.0), ("long " * 40, 65.0)):
        five(tmp_path / "results", score=score, r=r)
    error = f"{EVERY_SIGN} in /a/very/long/path_of_a_file/{'deep/' * 30}record.json " * 4
    run(tmp_path / "results", "lora", status="failed", metrics={}, error=error)
    for seed in range(9):
        run(tmp_path / "results", "ia3", seed=seed, status="failed", metrics={}, error=error)
    table = only(tmp_path / "results")
    text = latex(table)
    assert r"r=a\&b" in text
    assert r"c\%d\_\{e\}" in text
    assert "[U+6F22][U+5B57]" in text
    assert compiled(text) == []


def test_long_names_of_settings_are_broken_and_a_backbones_label_is_plain(compiled, tmp_path):
    for tokens in (256, 1024):
        groups = {
            "method": {"label": "Houlsby-Adapter"},
            "trainer": {"micro_batch_tokens": tokens},
            "backbone": {"name": "small", "label": r"Small (Q4\_1)"},
        }
        five(tmp_path / "results", "houlsby_adapter", score=tokens / 20, groups=groups)
    table = only(tmp_path / "results")
    text = latex(table)
    assert r"\_\allowbreak{}tokens" in text
    assert r"Small (Q4\_1): 2 methods" in text
    assert "Small (Q4_1): 2 methods" in markdown(table)
    assert compiled(text) == []


def test_escaping():
    assert escape_latex("a → b") == r"a $\to$ b"
    assert escape_latex("漢 🙂\0") == "[U+6F22] [U+1F642][U+0000]"
    assert escape_latex("naïve Šø e\u0301") == r"na\"{\i}ve \v{S}\o{} \'{e}"
    assert escape_latex("a|b\nc") == "a$|$b c"


GOLDEN = r"""{\small\setlength{\tabcolsep}{3pt}
\begin{longtable}{lrrr}
\caption{Suite main, backbone micro, data micro (micro results: embedded backbone or data): median over seeds on the test split.} \\
\toprule
Method & Params & BoolQ & SST-2 \\
 &  & (acc) & (acc) \\
\midrule
\endfirsthead
\toprule
Method & Params & BoolQ & SST-2 \\
 &  & (acc) & (acc) \\
\midrule
\endhead
\bottomrule
\endfoot
{}(IA)$^3$ & -- & \underline{77.00}$^\dagger$ & -- \\
PEDRO & 56.4K & \textbf{81.00} & \textbf{70.00 (n=1)} \\
\end{longtable}
\par\noindent\raggedright\footnotesize Best bold, second underlined; $^\dagger$ differs from the best (p $<$ 0.05, corrected after Holm for all pairs of a column).
\par\noindent\raggedright\footnotesize Missing, of the methods and tasks that have records: ia3 on sst2.
\par\noindent\raggedright\footnotesize Failed: pedro on sst2, seed 1: 50\% of memory\_pool \& more.
\par\noindent\raggedright\footnotesize Fewer than 5 seeds: pedro on sst2 has 1.
\par}
"""  # noqa: E501


def test_a_grid_is_a_longtable_with_its_notes(tmp_path):
    five(tmp_path, "pedro", "boolq", 81.0, parameters={"matrices": 56448})
    five(tmp_path, "ia3", "boolq", 77.0)
    run(tmp_path, "pedro", "sst2", score=70.0)
    reason = "50% of memory_pool & more."
    run(tmp_path, "pedro", "sst2", seed=1, status="failed", metrics={}, error=reason)
    text = latex(only(tmp_path))
    assert text.startswith(f"% made by python -m pedro_bench.cli.tables; needs {PREAMBLE}\n")
    assert text.partition("\n")[2].startswith(GOLDEN)


def test_wide_grids_are_turned_and_share_out_their_columns(tmp_path, compiled):
    tasks = [f"task{number:02d}" for number in range(12)]
    for method in ("pedro", "lora"):
        for task in tasks:
            five(tmp_path / "results", method, task)
    text = latex(only(tmp_path / "results"))
    spread = [part for part in text.split("\\begin{longtable}") if "Spread over seeds" in part]
    assert len(spread) == 4
    headers = [re.search(r"Method & (.*?) \\\\", part)[1].split(" & ") for part in spread]
    assert [task for own in headers for task in own] == tasks
    assert all(("PEDRO & " in part and "LoRA & " in part) or "lora" in part for part in spread)
    assert sum("Intervals over seeds alone" in part for part in spread) == 1
    assert "\\begin{landscape}" in text
    assert compiled(text) == []
