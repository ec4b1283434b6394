"""LaTeX's tables compile, and none runs off a page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pedro_bench.reporting.build import reports
from pedro_bench.reporting.cells import Block, GridRow, Text
from pedro_bench.reporting.escaping import escape_latex
from pedro_bench.reporting.fitting import WIDTH, headings, narrow_lines, parts, width_of
from pedro_bench.reporting.latex import latex
from pedro_bench.reporting.load import load
from tests.unit.reporting.runs import five, run

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
        begin = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        document.write_text(begin + "\\clearpage\n".join(texts) + "\\end{document}\n")
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", document.name]
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
    assert compiled(*map(latex, reports(load(RESULTS)))) == []


def test_settings_and_errors_of_any_letters_compile_and_fit(compiled, tmp_path):
    for r, score in (("a&b", 60.0), ("c%d_{e}", 70.0), ("long " * 40, 65.0)):
        five(tmp_path / "results", score=score, r=r)
    error = f"{EVERY_SIGN} in /a/very/long/path_of_a_file/{'deep/' * 30}record.json " * 4
    run(tmp_path / "results", "lora", status="failed", metrics={}, error=error)
    for seed in range(9):
        run(tmp_path / "results", "ia3", seed=seed, status="failed", metrics={}, error=error)
    (report,) = reports(load(tmp_path / "results"))
    text = latex(report)
    assert r"r=a\&b" in text
    assert r"c\%d\_\{e\}" in text
    assert "[U+6F22][U+5B57]" in text
    assert compiled(text) == []


def test_escaping():
    assert escape_latex("a → b") == r"a $\to$ b"
    assert escape_latex("漢 🙂\0") == "[U+6F22] [U+1F642][U+0000]"
    assert escape_latex("naïve Šø e\u0301") == r"na\"{\i}ve \v{S}\o{} \'{e}"
    assert escape_latex("a|b\nc") == "a$|$b c"


def block_of(rows, header=("Method", "A (acc)"), text_columns=1):
    made = tuple(GridRow(tuple(map(Text, row))) for row in rows)
    return Block("Caption.", header, made, ("Note.",), text_columns)


def test_columns_are_shared_out_each_once_under_the_methods_name():
    header = ("Method", *(f"T{n} (acc)" for n in range(7)))
    cells = [f"[75.00, 79.00] IQR {n}.00 sd 1.58" for n in range(7)]
    made = parts(block_of([("PEDRO", *cells), ("LoRA", *cells)], header))
    assert [one.block.header[1:] for one in made] == [
        header[1:3],
        header[3:5],
        header[5:7],
        header[7:],
    ]
    for one in made:
        assert [row.cells[0].plain for row in one.block.rows] == ["PEDRO", "LoRA"]
        assert (one.of, one.is_small) == (4, True)
        widest = sum(width_of(cell.plain, is_small=True) + 6 for cell in one.block.rows[0].cells)
        assert widest <= WIDTH
    shown = [cell.plain for one in made for cell in one.block.rows[0].cells[1:]]
    assert shown == cells
    assert [one.block.notes for one in made] == [(), (), (), ("Note.",)]


def test_rows_are_shared_out_each_once_and_their_heading_is_repeated():
    rows = [("Llama",), *((f"m{n}", "1.0") for n in range(60)), ("Gemma",), ("m0", "1.0")]
    made = parts(block_of(rows))
    shown = [[row.cells[0].plain for row in one.block.rows] for one in made]
    assert len(made) == 2
    assert all(len(one) <= 40 for one in shown)
    assert [one[0] for one in shown] == ["Llama", "Llama"]
    assert [*shown[0], *shown[1][1:]] == [row[0] for row in rows]


def test_a_heading_never_ends_a_table():
    for before in range(20, 50):
        rows = [*((f"m{n}", "1.0") for n in range(before)), ("Gemma",)]
        rows += [(f"m{n}", "1.0") for n in range(60 - before)]
        for one in parts(block_of(rows)):
            assert len(one.block.rows[-1].cells) == 2


def test_texts_beside_texts_are_broken_into_lines():
    claim = "PEDRO within 1 point of Houlsby-Adapter on ReCoRD"
    row = (
        claim,
        "PEDRO, section 4.4",
        "not separable",
        "p=0.001",
        "5+5 seeds, 800 examples",
        "+1.00",
    )
    header = ("Claim", "Source", "Verdict", "p", "n", "Difference")
    (one,) = parts(block_of([row] * 10, header, text_columns=5))
    assert [len(texts) for texts in one.lines[0]] == [2, 2, 1, 1, 2, 1]
    assert " ".join(one.lines[0][0]) == claim
    assert narrow_lines("aa bb cc dd", 2, is_small=True) == ("aa bb", "cc dd")


def test_a_table_that_fits_is_left_as_it_is():
    (one,) = parts(block_of([("PEDRO", "1.0")]))
    assert (one.is_small, one.lines, one.of) == (False, ((("PEDRO",), ("1.0",)),), 1)
    assert headings(("Method", "SQuAD (f1_em)")) == [("Method", ""), ("SQuAD", "(f1_em)")]
