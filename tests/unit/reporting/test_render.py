import csv
import io
import shutil
import subprocess

import pytest

from pedro_bench.reporting.load import load
from pedro_bench.reporting.render import comma_separated, escape_latex, latex, markdown
from pedro_bench.reporting.table import build
from tests.unit.reporting.runs import five, run

GOLDEN_TEX = r"""% made by python -m pedro_bench.cli.tables
\begin{table}[t]
\centering
\caption{Suite main, backbone micro, data micro (micro results: embedded backbone or data): median over seeds on the test split.}
\begin{tabular}{lrr}
\toprule
Method & BOOLQ (accuracy) & SST2 (accuracy) \\
\midrule
(IA)$^3$ & \underline{79.50} & -- \\
PEDRO & \textbf{81.00} & \textbf{70.00 (n=1)} \\
\bottomrule
\end{tabular}
\par\footnotesize Missing: ia3 on sst2.
\par\footnotesize Failed: pedro on sst2, seed 1: 50\% of memory\_pool \& more.
\end{table}
"""  # noqa: E501

GOLDEN_MD = """<!-- made by python -m pedro_bench.cli.tables -->
Suite main, backbone micro, data micro (micro results: embedded backbone or data): median over seeds on the test split.

| Method | BOOLQ (accuracy) | SST2 (accuracy) |
| --- | ---: | ---: |
| (IA)^3 | <u>79.50</u> | -- |
| PEDRO | **81.00** | **70.00 (n=1)** |

Best bold, second underlined.
- Missing: ia3 on sst2.
- Failed: pedro on sst2, seed 1: 50% of memory_pool & more.
"""  # noqa: E501


@pytest.fixture
def table(tmp_path):
    five(tmp_path, "pedro", "boolq", 81.0)
    five(tmp_path, "ia3", "boolq", 79.5)
    run(tmp_path, "pedro", "sst2", score=70.0)
    reason = "50% of memory_pool & more."
    run(tmp_path, "pedro", "sst2", seed=1, status="failed", metrics={}, error=reason)
    ((panel, rows),) = load(tmp_path).items()
    return build(panel, rows)


def test_latex(table):
    assert latex(table) == GOLDEN_TEX


def test_markdown(table):
    assert markdown(table) == GOLDEN_MD


def test_csv(table):
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert [(row["method"], row["task"], row["median"], row["seeds"]) for row in rows] == [
        ("(IA)^3", "BOOLQ (accuracy)", "79.5", "5"),
        ("(IA)^3", "SST2 (accuracy)", "", "0"),
        ("PEDRO", "BOOLQ (accuracy)", "81", "5"),
        ("PEDRO", "SST2 (accuracy)", "70", "1"),
    ]


def test_special_signs_stand_for_themselves():
    assert escape_latex(r"a_b & 5% {x} \y ~ ^") == (
        r"a\_b \& 5\% \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{}"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_the_table_compiles_in_a_minimal_document(table, tmp_path):
    document = tmp_path / "minimal.tex"
    document.write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}"
        + latex(table)
        + "\\end{document}"
    )
    subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", document.name],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert document.with_suffix(".pdf").stat().st_size > 1000
