import csv
import io

import pytest

from pedro_bench.analysis.comparison import ALPHA
from pedro_bench.analysis.papers import plain
from pedro_bench.analysis.series import points
from pedro_bench.reporting.captions import missing
from pedro_bench.reporting.grids import grids
from pedro_bench.reporting.numbers import LEVEL, amount, counted, p_text, short_amount, size_text
from pedro_bench.reporting.text import comma_separated, escape_latex, latex, markdown
from tests.unit.analysis.runs import built, five, only, run

GOLDEN_MD = """<!-- made by python -m pedro_bench.cli.tables -->
Suite main, backbone micro, data micro (micro results: embedded backbone or data): median over seeds on the test split.

| Method | Params | BoolQ (acc) | SST-2 (acc) |
| --- | ---: | ---: | ---: |
| (IA)^3 | -- | <u>77.00</u>† | -- |
| PEDRO | 56.4K | **81.00** | **70.00 (n=1)** |

- Best bold, second underlined; † differs from the best (p < 0.05, corrected after Holm for all pairs of a column).
- Missing, of the methods and tasks that have records: ia3 on sst2.
- Failed: pedro on sst2, seed 1: 50% of memory_pool & more.
- Fewer than 5 seeds: pedro on sst2 has 1.

Spread over seeds, main--micro--micro (micro results): 95% bootstrap interval of the median, interquartile range, standard deviation.

| Method | BoolQ (acc) | SST-2 (acc) |
| --- | ---: | ---: |
| (IA)^3 | [75.00, 79.00] IQR 2.00 sd 1.58 | -- |
| PEDRO | [79.00, 83.00] IQR 2.00 sd 1.58 | -- |

- Intervals over seeds alone: predictions were not recorded.
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
def table(tmp_path):
    counts = {"matrices": 56448, "trainable": 60340, "total": 1570688}
    five(tmp_path, "pedro", "boolq", 81.0, parameters=counts)
    five(tmp_path, "ia3", "boolq", 77.0)
    run(tmp_path, "pedro", "sst2", score=70.0)
    reason = "50% of memory_pool & more."
    run(tmp_path, "pedro", "sst2", seed=1, status="failed", metrics={}, error=reason)
    return built(tmp_path)[0]


@pytest.fixture
def paper_table(tmp_path):
    """A table of a paper: two backbones, ties, a failed run, missing methods."""
    for backbone in ("llama2_13b", "gemma_2b"):
        for method, score in (("pedro", 91.0), ("lora", 91.0), ("ia3", 80.0)):
            five(tmp_path, method, "boolq", score, suite="table5", backbone=backbone, data="hub")
    return built(tmp_path)[0]


def test_markdown(table):
    assert markdown(table) == GOLDEN_MD


def test_csv(table):
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
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
    assert text.count(r"\multicolumn{4}{c}{\emph{Llama-2 13B}} \\*") == 1
    scores = grids(paper_table)[0]
    headings = [row.cells[0].plain for row in scores.rows if len(row.cells) == 1]
    assert headings == ["Llama-2 13B", "Gemma 2B"]
    assert "| PEDRO | -- | **91.00** | -- |" in markdown(paper_table)
    assert "| LoRA | -- | **91.00** | -- |" in markdown(paper_table)
    assert "| PEDRO | 91.3 (-0.30) | 92.4 |" in markdown(paper_table)
    assert "| PEDRO | 83.5 (+7.50) | 79.5 |" in markdown(paper_table)
    assert r"\textbf{91.00}" in text
    assert r"\underline{80.00}$^\dagger$" in text
    assert "Missing, of the paper's methods and tasks: " in text
    assert "tasks: adalora (llama2_13b)" not in text
    assert r"adalora (llama2\_13b)" in text
    claim = "| PEDRO above (IA)^3 on BoolQ | PEDRO, Table 5 | supported | p<0.001 | 5+5 seeds alone"
    assert claim in markdown(paper_table)
    assert "PEDRO above LoRA on BoolQ | PEDRO, Table 5 | not separable" in markdown(paper_table)


def test_a_claim_within_a_margin_shows_no_p(tmp_path):
    for seed in range(5):
        for method, score in (("pedro", 90.0), ("full_ft", 90.2), ("lora", 80.0)):
            value = score + 0.01 * seed
            run(tmp_path, method, seed=seed, score=value, suite="table1", backbone="llama2_7b")
    table = only(tmp_path)
    claims = next(one for one in grids(table) if one.caption.startswith("Claims"))
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
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [p_text(p) for p in (0.0004, 0.0123, 1.0)] == ["p<0.001", "p=0.012", "p=1.000"]
    assert [p_text(p) for p in (0.0494, 0.0496, 0.05)] == ["p=0.049", "p<0.050", "p=0.050"]
    assert LEVEL == ALPHA
    sizes = (None, 17, 2048, 5 * 2**20, 3 * 2**30)
    assert [amount(n) for n in (999_949, 999_950, 999_999_999)] == ["999.9K", "1.0M", "1.0B"]
    assert [size_text(n) for n in (2**20 - 60, 2**20 - 1)] == ["1023.9 KiB", "1.0 MiB"]
    values = (5.03, 12.05, 0.04, 10.0, 100.05, 8000.0, 12_750.0, 0.001)
    assert [short_amount(value) for value in values] == [
        "5.03", "12.05", "0.04", "10", "100.05", "8K", "12.8K", "0",
    ]  # fmt: skip
    assert [size_text(n) for n in sizes] == ["--", "17 B", "2.0 KiB", "5.0 MiB", "3.0 GiB"]


def test_costs_are_shown_where_they_are_asked_for(tmp_path):
    for seed, seconds in enumerate((50.0, 70.0, 900.0)):
        spent = {"train_seconds": seconds, "tokens_per_second": 1234.0 + seed}
        run(
            tmp_path, "pedro", seed=seed, timing=spent,
            memory={"peak_bytes": 2**30 + seed, "adapter_bytes": 2**20},
            energy={"train_joules": 4200.0 + seed, "of": "gpu"},
            operations={"tokens": 128, "backbone": 10**9, "method": 112_896},
            forgetting={"before": 2.0, "after": 2.25 + seed, "rise": 0.25 + seed, "tokens": 99},
        )  # fmt: skip
    run(tmp_path, "lora", timing={"train_seconds": 1200.0})
    run(tmp_path, "bitfit", operations={"tokens": 128, "backbone": 10**9, "method": 0},
        forgetting={"before": 2.0, "after": 2.0, "rise": 0.0, "tokens": 99})  # fmt: skip
    table = only(tmp_path)
    (costs,) = [
        one for one in grids(table, costs=True) if one.caption.startswith("What a run costs")
    ]
    shown = {row.method: [cell.plain for cell in row.cells[1:]] for row in costs.rows}
    assert shown == {
        "pedro": ["70.0 s", "1,235", "4.2 kJ", "1.0 GiB", "1.0 MiB", "1.13e+05", "+1.250"],
        "lora": ["20 min", "--", "--", "--", "--", "--", "--"],
        "bitfit": ["--", "--", "--", "--", "--", "0", "+0.000"],
    }
    assert costs.header[1:] == (
        "Train time", "Tokens/s", "Energy (GPU)", "Peak memory", "Adapter size", "Operations",
        "Forgotten",
    )  # fmt: skip
    assert not any(one.caption.startswith("What a run costs") for one in grids(table))
    assert "What a run costs" in markdown(table, costs=True)
    assert "What a run costs" in latex(table, costs=True)
    rows = list(csv.DictReader(io.StringIO(comma_separated(table, costs=True))))
    assert rows[2]["peak_bytes"] == str(2**30 + 2)
    assert (rows[2]["train_seconds"], rows[1]["adapter_bytes"]) == ("70", "")
    assert "train_seconds" not in comma_separated(table)


def test_energy_of_a_gpu_and_of_processors_are_two_columns_and_two_charts(tmp_path):
    for method, joules, of in (("pedro", 900.0, "gpu"), ("lora", 4200.0, "processors")):
        run(tmp_path, method, energy={"train_joules": joules, "of": of})
    run(tmp_path, "lora", seed=1, energy={"train_joules": 8400.0, "of": "gpu"})
    run(tmp_path, "ia3", energy={"train_joules": 1.0})  # nobody knows of what
    table = only(tmp_path)
    costs = next(
        one for one in grids(table, costs=True) if one.caption.startswith("What a run costs")
    )
    assert costs.header == ("Method", "Energy (GPU)", "Energy (processors)")
    shown = {row.method: [cell.plain for cell in row.cells[1:]] for row in costs.rows}
    assert shown == {"pedro": ["900 J", "--"], "lora": ["8.4 kJ", "4.2 kJ"], "ia3": ["--", "--"]}
    found = {
        kind: [one.line.method for one in points(table.sections[0], 0) if one.at(kind)]
        for kind in ("gpu_energy", "processor_energy")
    }
    assert found == {"gpu_energy": ["lora", "pedro"], "processor_energy": ["lora"]}


def test_costs_that_no_run_has_take_no_column(tmp_path):
    run(tmp_path, "lora", timing={"train_seconds": 1200.0})
    costs = next(
        one
        for one in grids(only(tmp_path), costs=True)
        if one.caption.startswith("What a run costs")
    )
    assert costs.header == ("Method", "Train time")


def test_a_number_leads_back_to_its_records(tmp_path):
    for seed, commit in ((0, "a" * 40), (1, "b" * 40)):
        environment = {"commit": commit, "dirty": False}
        run(tmp_path, seed=seed, score=80.0 + seed, key="0123456789ab", environment=environment)
    run(tmp_path, seed=2, status="failed", error="boom.", metrics={})
    (row,) = csv.DictReader(io.StringIO(comma_separated(only(tmp_path))))
    assert (row["key"], row["run_seeds"], row["run_scores"]) == ("0123456789ab", "0 1", "80 81")
    assert row["commits"] == f"{'a' * 40} {'b' * 40}"
    assert row["records"].split(" ") == [
        f"runs/main/pedro--boolq--micro--0123456789ab--seed{seed}.json" for seed in (0, 1)
    ]
    assert all((tmp_path / one).is_file() for one in row["records"].split(" "))


TABLE = {"suite": "table5", "data": "hub"}


def test_rows_are_under_the_headings_of_all_sections(tmp_path):
    five(tmp_path, "pedro", "boolq", 91.0, backbone="llama2_13b", **TABLE)
    five(tmp_path, "pedro", "rte", 71.0, backbone="llama2_13b", **TABLE)
    for task, score in (("boolq", 81.0), ("copa", 61.0), ("squad", 51.0)):
        five(tmp_path, "pedro", task, score, backbone="gemma_2b", **TABLE)
    five(tmp_path, "lora", "copa", 60.0, backbone="gemma_2b", **TABLE)
    table = only(tmp_path)
    scores, spreads, differences, published, *_ = grids(table)
    headings = ("BoolQ (acc)", "SQuAD (acc)", "rte (acc)", "copa (acc)")
    assert scores.header == ("Method", "Params", *headings)
    for block in (spreads, differences, published):
        assert block.header == ("Method", *headings)
    large, small = (
        [cell.plain for cell in row.cells] for row in scores.rows if row.cells[0].plain == "PEDRO"
    )
    assert large == ["PEDRO", "--", "91.00", "--", "71.00", "--"]
    assert small == ["PEDRO", "--", "81.00", "51.00", "--", "61.00"]
    for block in (scores, spreads, differences, published):
        assert {len(row.cells) for row in block.rows} == {1, len(block.header)}
    assert "pedro on copa (llama2_13b)" not in missing(table)  # nobody ran it there
    assert "pedro on squad (llama2_13b)" in missing(table)


def test_without_a_run_by_the_papers_protocol_the_reason_is_not_another_backbone(tmp_path):
    place = {"suite": "red_table6", "backbone": "roberta_large", "data": "files"}
    for method in ("red", "red_no_scaling", "red_no_bias"):
        for task in ("mrpc", "cola", "qqp"):
            run(tmp_path, method, task, groups={"trainer": {"max_steps": 3}}, **place)
    published = next(one for one in grids(only(tmp_path)) if one.caption.startswith("Published"))
    assert published.notes[0] == (
        "No run was made by the paper's protocol, so no differences are taken."
    )


def test_a_comparison_over_seeds_alone_is_named_below_five_seeds_too(tmp_path):
    for seed in range(3):
        run(tmp_path, "pedro", seed=seed, score=90.0 + seed)
        run(tmp_path, "lora", seed=seed, score=50.0, examples=[100.0, 0.0])
    note = "Over seeds alone, as the best has no scores of the same examples: lora on boolq."
    assert note in [one for grid in grids(only(tmp_path)) for one in grid.notes]
