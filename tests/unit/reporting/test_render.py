import csv
import io

import pytest

from pedro_bench.reporting.blocks import blocks
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.cells import amount, p_text, plain
from pedro_bench.reporting.delimited import comma_separated
from pedro_bench.reporting.escaping import escape_latex
from pedro_bench.reporting.latex import latex
from pedro_bench.reporting.load import load
from pedro_bench.reporting.markdown import markdown
from tests.unit.reporting.runs import five, run

GOLDEN_TEX = r"""% made by python -m pedro_bench.cli.tables
\begin{table}[t]
\centering
\caption{Suite main, backbone micro, data micro (micro results: embedded backbone or data): median over seeds on the test split.}
\smallskip
\begin{tabular}{lrrr}
\toprule
Method & Params & BoolQ & SST-2 \\
 &  & (acc) & (acc) \\
\midrule
(IA)$^3$ & -- & \underline{77.00}$^\dagger$ & -- \\
PEDRO & 56.4K & \textbf{81.00} & \textbf{70.00 (n=1)} \\
\bottomrule
\end{tabular}
\par\smallskip
\par\footnotesize Best bold, second underlined; $^\dagger$ differs from the best (p $<$ 0.05, corrected after Holm for all pairs of a column).
\par\footnotesize Missing: ia3 on sst2.
\par\footnotesize Failed: pedro on sst2, seed 1: 50\% of memory\_pool \& more.
\par\footnotesize Fewer than 5 seeds: pedro on sst2 has 1.
\end{table}

\begin{table}[t]
\centering
\caption{Spread over seeds, main--micro--micro (micro results): 95\% bootstrap interval of the median, interquartile range, standard deviation.}
\smallskip
\begin{tabular}{lrr}
\toprule
Method & BoolQ & SST-2 \\
 & (acc) & (acc) \\
\midrule
(IA)$^3$ & [75.00, 79.00] IQR 2.00 sd 1.58 & -- \\
PEDRO & [79.00, 83.00] IQR 2.00 sd 1.58 & -- \\
\bottomrule
\end{tabular}
\par\smallskip
\par\footnotesize Intervals over seeds alone: predictions hold no scores of single examples.
\par\footnotesize Over 5 seeds alone it is their range, which holds the median in 93.75\% of cases.
\par\footnotesize No interval below 5 seeds.
\end{table}

\begin{table}[t]
\centering
\caption{Difference from the best of each column, main--micro--micro (micro results): difference of means over seeds, and p corrected after Holm for all pairs of the column.}
\smallskip
\begin{tabular}{lrr}
\toprule
Method & BoolQ & SST-2 \\
 & (acc) & (acc) \\
\midrule
(IA)$^3$ & -4.00 (p=0.004) & -- \\
PEDRO & best & best \\
\bottomrule
\end{tabular}
\end{table}

\begin{table}[t]
\centering
\caption{Average rank across tasks, main--micro--micro (micro results) (1 is best).}
\smallskip
\begin{tabular}{lr}
\toprule
Method & Rank \\
\midrule
PEDRO & 1.00 \\
(IA)$^3$ & 2.00 \\
\bottomrule
\end{tabular}
\par\smallskip
\par\footnotesize Micro: 2 methods on 1 task; too few for a test.
\end{table}
"""  # noqa: E501

GOLDEN_MD = """<!-- made by python -m pedro_bench.cli.tables -->
Suite main, backbone micro, data micro (micro results: embedded backbone or data): median over seeds on the test split.

| Method | Params | BoolQ (acc) | SST-2 (acc) |
| --- | ---: | ---: | ---: |
| (IA)^3 | -- | <u>77.00</u>† | -- |
| PEDRO | 56.4K | **81.00** | **70.00 (n=1)** |

- Best bold, second underlined; † differs from the best (p < 0.05, corrected after Holm for all pairs of a column).
- Missing: ia3 on sst2.
- Failed: pedro on sst2, seed 1: 50% of memory_pool & more.
- Fewer than 5 seeds: pedro on sst2 has 1.

Spread over seeds, main--micro--micro (micro results): 95% bootstrap interval of the median, interquartile range, standard deviation.

| Method | BoolQ (acc) | SST-2 (acc) |
| --- | ---: | ---: |
| (IA)^3 | [75.00, 79.00] IQR 2.00 sd 1.58 | -- |
| PEDRO | [79.00, 83.00] IQR 2.00 sd 1.58 | -- |

- Intervals over seeds alone: predictions hold no scores of single examples.
- Over 5 seeds alone it is their range, which holds the median in 93.75% of cases.
- No interval below 5 seeds.

Difference from the best of each column, main--micro--micro (micro results): difference of means over seeds, and p corrected after Holm for all pairs of the column.

| Method | BoolQ (acc) | SST-2 (acc) |
| --- | ---: | ---: |
| (IA)^3 | -4.00 (p=0.004) | -- |
| PEDRO | best | best |

Average rank across tasks, main--micro--micro (micro results) (1 is best).

| Method | Rank |
| --- | ---: |
| PEDRO | 1.00 |
| (IA)^3 | 2.00 |

- Micro: 2 methods on 1 task; too few for a test.
"""  # noqa: E501


@pytest.fixture
def report(tmp_path):
    counts = {"matrices": 56448, "trainable": 60340, "total": 1570688}
    five(tmp_path, "pedro", "boolq", 81.0, parameters=counts)
    five(tmp_path, "ia3", "boolq", 77.0)
    run(tmp_path, "pedro", "sst2", score=70.0)
    reason = "50% of memory_pool & more."
    run(tmp_path, "pedro", "sst2", seed=1, status="failed", metrics={}, error=reason)
    return reports(load(tmp_path))[0]


@pytest.fixture
def paper_table(tmp_path):
    """A table of a paper: two backbones, ties, a failed run, missing methods."""
    for backbone in ("llama2_13b", "gemma_2b"):
        for method, score in (("pedro", 91.0), ("lora", 91.0), ("ia3", 80.0)):
            five(tmp_path, method, "boolq", score, suite="table5", backbone=backbone, data="hub")
    return reports(load(tmp_path))[0]


def test_latex(report):
    assert latex(report) == GOLDEN_TEX


def test_markdown(report):
    assert markdown(report) == GOLDEN_MD


def test_csv(report):
    rows = list(csv.DictReader(io.StringIO(comma_separated(report))))
    names = ("method", "task", "status", "median", "seeds", "place", "failed", "matrices")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("ia3", "boolq", "finished", "77", "5", "2", "0", ""),
        ("ia3", "sst2", "missing", "", "0", "", "0", ""),
        ("pedro", "boolq", "finished", "81", "5", "1", "0", "56448"),
        ("pedro", "sst2", "partial", "70", "1", "1", "1", "56448"),
    ]
    assert [row["label"] for row in rows[:1]] == ["(IA)^3"]
    assert (rows[2]["lower_quartile"], rows[2]["upper_quartile"]) == ("80", "82")
    assert (rows[2]["interval_low"], rows[2]["interval_high"]) == ("79", "83")
    assert rows[0]["difference_from_best"] == "-4"
    assert (rows[0]["examples_from_best"], rows[2]["examples_from_best"]) == ("0", "")
    assert {row["micro"] for row in rows} == {"True"}


def test_a_papers_table_has_a_heading_for_each_backbone_and_rules_between_groups(paper_table):
    text = latex(paper_table)
    assert text.count(r"\multicolumn{4}{c}{\emph{Llama-2 13B}} \\") == 1
    scores = blocks(paper_table)[0]
    headings = [row.cells[0].plain for row in scores.rows if len(row.cells) == 1]
    assert headings == ["Llama-2 13B", "Gemma 2B"]
    assert "| PEDRO | -- | **91.00** | -- |" in markdown(paper_table)
    assert "| LoRA | -- | **91.00** | -- |" in markdown(paper_table)
    assert "| PEDRO | 91.3 (-0.30) | 92.4 |" in markdown(paper_table)
    assert "| PEDRO | 83.5 (+7.50) | 79.5 |" in markdown(paper_table)
    assert r"\textbf{91.00}" in text
    assert r"\underline{80.00}$^\dagger$" in text
    assert "Missing: adalora (llama2_13b)" not in text
    assert r"adalora (llama2\_13b)" in text
    claim = "| PEDRO above (IA)^3 on BoolQ | PEDRO, Table 5 | supported | p<0.001 | 5+5 seeds alone"
    assert claim in markdown(paper_table)
    assert "PEDRO above LoRA on BoolQ | PEDRO, Table 5 | not separable" in markdown(paper_table)


def test_a_claim_within_a_margin_shows_no_p(tmp_path):
    for seed in range(5):
        for method, score in (("pedro", 90.0), ("full_ft", 90.2), ("lora", 80.0)):
            value = score + 0.01 * seed
            run(tmp_path, method, seed=seed, score=value, suite="table1", backbone="llama2_7b")
    (report,) = reports(load(tmp_path))
    claims = next(one for one in blocks(report) if one.caption.startswith("Claims"))
    assert "p corrected after Holm over all claims that one is above another" in claims.caption
    found = {row.cells[0].plain: row.cells[3].plain for row in claims.rows}
    assert found["PEDRO within 1 point of full_ft on BoolQ"] == "--"
    assert found["PEDRO above LoRA on BoolQ"] == "p<0.001"
    assert any("95% interval of the difference, without a p" in note for note in claims.notes)


def test_words_and_numbers_for_people():
    assert escape_latex(r"a_b & 5% {x} \y ~ ^ <") == (
        r"a\_b \& 5\% \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} $<$"
    )
    assert plain(r"FT$^{\mathrm{top2}}$") == "FT^top2"
    assert [amount(n) for n in (8945664, 6738415616, 56448, 7, None)] == [
        "8.9M", "6.7B", "56.4K", "7", "--",
    ]  # fmt: skip
    assert [p_text(p) for p in (0.0004, 0.0123, 1.0)] == ["p<0.001", "p=0.012", "p=1.000"]
