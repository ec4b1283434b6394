"""Reports from hand-made records, against answers worked by hand."""

import pytest

from pedro_bench.analysis.cells import Column
from pedro_bench.reporting.captions import caption, missing
from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import markdown
from tests.unit.analysis.runs import built, five, only, run

LLAMA = {"backbone": "llama2_7b", "data": "hub"}


def shown(section):
    return {
        line.name: [
            (cell.spread.median if cell.spread else None, cell.place, cell.status)
            for cell in line.cells
        ]
        for line in section.lines
    }


def test_best_and_second_by_column_with_ties_missing_seeds_and_failures(tmp_path):
    five(tmp_path, "pedro", "boolq", 81.004)
    five(tmp_path, "lora", "boolq", 81.001)
    five(tmp_path, "ia3", "boolq", 79.5)
    run(tmp_path, "pedro", "sst2", 0, 90.0)
    run(tmp_path, "pedro", "sst2", 1, 91.0)
    run(tmp_path, "lora", "sst2", 0, status="failed", metrics={}, error="out of memory.")
    run(tmp_path, "ia3", "sst2", 0, status="running", metrics={})
    table = only(tmp_path)
    (section,) = table.sections
    assert table.columns == [Column("boolq", "BoolQ", "acc"), Column("sst2", "SST-2", "acc")]
    assert shown(section) == {
        "ia3": [(79.5, 2, "finished"), (None, 0, "unfinished")],
        "lora": [(81.001, 1, "finished"), (None, 0, "failed")],
        "pedro": [(81.004, 1, "finished"), (90.5, 1, "partial")],
    }
    assert tuple(missing(table)) == ("ia3 on sst2", "lora on sst2")
    assert tuple(notes(table)) == (
        "Failed: lora on sst2, seed 0: out of memory.",
        "Begun and not finished: ia3 on sst2 (seed 0).",
        "Fewer than 5 seeds: pedro on sst2 has 2.",
    )


def test_a_paper_table_with_two_backbones_is_one_report_in_the_papers_order(tmp_path):
    five(tmp_path, "pedro", "boolq", 83.0, suite="table5", backbone="gemma_2b", data="hub")
    five(tmp_path, "pedro", "boolq", 91.0, suite="table5", backbone="llama2_13b", data="hub")
    five(tmp_path, "lora", "boolq", 90.5, suite="table5", backbone="llama2_13b", data="hub")
    table = only(tmp_path)
    assert table.name == "table5--hub"
    assert [section.backbone for section in table.sections] == ["llama2_13b", "gemma_2b"]
    large, small = table.sections
    assert [line.method for line in large.lines] == ["ia3", "lora", "adalora", "pedro"]
    assert [column.heading for column in table.columns] == ["BoolQ (acc)", "SQuAD"]
    assert shown(large)["pedro"][0] == (91.0, 1, "finished")
    assert shown(large)["lora"][0] == (90.5, 2, "finished")
    assert shown(small)["pedro"][0] == (83.0, 1, "finished")
    assert "adalora on squad (gemma_2b)" in missing(table)
    assert len(missing(table)) == 16 - 3
    differences = [section.lines[3].cells[0].difference for section in (large, small)]
    assert differences == pytest.approx([91.0 - 91.3, 83.0 - 83.5])
    assert large.lines[3].cells[0].published.source == "PEDRO, Table 5"


def test_the_comparison_with_the_best_is_corrected_within_its_column(tmp_path):
    # d of lora is 100 on one example of ten in both seeds: mean 10, variance of the mean 1000 / 10 = 100,
    # t = 1 and p = 0.343 with nine degrees of freedom, as no seeds differ. Three cells are three pairs, so
    # the least p counts three times. d of bitfit is 100 on nine of ten: the same variance, t = 9.
    right = [100.0] * 9
    rows = {
        "pedro": [100.0, *right],
        "lora": [0.0, *right],
        "bitfit": [100.0] + [0.0] * 9,
    }
    for method, row in rows.items():
        for seed in range(2):
            run(tmp_path, method, seed=seed, score=sum(row) / 10, examples=row)
    table = only(tmp_path)
    bitfit, lora, pedro = (line.cells[0] for line in table.sections[0].lines)
    assert pedro.from_best is None
    assert (pedro.place, lora.place, bitfit.place) == (1, 2, 0)
    assert bitfit.from_best.comparison.p == pytest.approx(8.538e-6, rel=1e-3)
    assert bitfit.from_best.p == pytest.approx(3 * 8.538e-6, rel=1e-3)
    assert lora.from_best.comparison.p == pytest.approx(0.3434364)
    assert lora.from_best.p == pytest.approx(2 * 0.3434364)
    assert lora.from_best.comparison.examples == 10
    assert (lora.from_best.separates, bitfit.from_best.separates) == (False, True)


def test_of_two_that_share_the_best_median_the_first_is_the_best(tmp_path):
    for method in ("pedro", "ia3"):
        for seed in range(2):
            run(tmp_path, method, seed=seed, score=100.0, examples=[100.0] * 4)
    table = only(tmp_path)
    ia3, pedro = (line.cells[0] for line in table.sections[0].lines)
    assert (ia3.from_best, ia3.place, pedro.place) == (None, 1, 1)
    assert (pedro.from_best.p, pedro.from_best.separates) == (1.0, False)


def with_seeds(folder, task="boolq", **scores):
    """Write runs of several methods: method -> one score a seed."""
    for method, own in scores.items():
        for seed, score in enumerate(own):
            run(folder, method, task, seed, score)


def test_a_cell_with_fewer_seeds_than_others_has_no_place_and_no_rank(tmp_path):
    with_seeds(tmp_path, ia3=[99.0], lora=[80, 81, 82], pedro=[70, 71, 72], bitfit=[90, 95])
    table = only(tmp_path)
    cells = {line.method: line.cells[0] for line in table.sections[0].lines}
    places = {name: (cell.place, cell.short_of) for name, cell in cells.items()}
    assert places == {"bitfit": (0, 3), "ia3": (0, 3), "lora": (1, 0), "pedro": (2, 0)}
    assert table.sections[0].ranks.average == {"lora": 1.0, "pedro": 2.0}
    # compared all the same where it has two seeds: with the best of those that are ranked
    assert cells["bitfit"].from_best.comparison.difference == pytest.approx(92.5 - 81)
    assert cells["lora"].from_best is None
    text = markdown(table)
    told = "bitfit on boolq (2 of 3), ia3 on boolq (1 of 3)"
    assert (
        f"Fewer seeds than other cells of the column, so neither marked nor ranked: {told}.\n"
        in text
    )
    assert "| (IA)^3 | -- | 99.00 (n=1) |" in text
    assert "| LoRA | -- | **81.00 (n=3)** |" in text


def test_more_than_five_seeds_count_as_five(tmp_path):
    with_seeds(tmp_path, lora=[80.0 + n for n in range(7)], pedro=[90.0 + n for n in range(5)])
    table = only(tmp_path)
    lora, pedro = (line.cells[0] for line in table.sections[0].lines)
    assert (lora.place, pedro.place, lora.short_of, pedro.short_of) == (2, 1, 0, 0)
    assert not [note for note in notes(table) if note.startswith("Fewer seeds")]


def test_one_cell_that_has_the_most_seeds_is_no_best(tmp_path):
    with_seeds(tmp_path, lora=[80, 81], pedro=[70, 71, 72])
    with_seeds(tmp_path, "sst2", lora=[80], pedro=[70])
    table = only(tmp_path)
    lora, pedro = (line.cells for line in table.sections[0].lines)
    assert [cell.place for cell in (*lora, *pedro)] == [0, 1, 0, 2]
    assert lora[0].from_best is None
    told = "One cell alone has the most seeds, so no best is marked: boolq."
    assert told in notes(table)
    with_seeds(tmp_path / "alone", pedro=[70, 71, 72])
    (line,) = only(tmp_path / "alone").sections[0].lines
    assert line.cells[0].place == 1


def test_a_claim_is_decided_or_said_to_be_open(tmp_path):
    for seed in range(5):
        for method, score in (("pedro", 90.0), ("lora", 80.0), ("ia3", 89.99), ("bitfit", 99.0)):
            value = score + 0.1 * seed
            run(tmp_path, method, seed=seed, score=value, suite="table1", **LLAMA)
    table = only(tmp_path)
    found = {(one.other, one.task): one for one in table.sections[0].verdicts}
    assert len(found) == 10 * 7
    assert found["LoRA", "BoolQ"].verdict == "supported"
    assert found["bitfit", "BoolQ"].verdict == "contradicted"
    assert found["(IA)$^3$", "BoolQ"].verdict == "not separable"
    open_claim = found["AdaLoRA", "BoolQ"]
    assert open_claim.verdict == "not testable"
    assert open_claim.reason == "no finished run of adalora on boolq"
    assert found["LoRA", "SQuAD"].reason == "no finished run of pedro on squad"
    tested = found["LoRA", "BoolQ"].tested
    assert tested.comparison.difference == pytest.approx(10.0)
    assert tested.p == pytest.approx(min(1, 3 * tested.comparison.p))


def test_comparable_means_within_the_margin(tmp_path):
    for seed in range(5):
        for method, score in (("pedro", 90.0), ("full_ft", 90.2)):
            value = score + 0.01 * seed
            run(tmp_path, method, seed=seed, score=value, suite="table1", **LLAMA)
            wide = score + 5.0 * (method == "full_ft") + 0.01 * seed
            run(tmp_path, method, "squad", seed, wide, suite="table1", **LLAMA)
            loose = score + 4.0 * seed
            run(tmp_path, method, "sst2", seed, loose, suite="table1", **LLAMA)
    table = only(tmp_path)
    found = {
        one.task: one.verdict for one in table.sections[0].verdicts if one.kind == "comparable"
    }
    assert found["BoolQ"] == "supported"
    assert found["SQuAD"] == "contradicted"
    assert found["SST-2"] == "not separable"


def test_sizes_nearest_in_parameters_are_compared(tmp_path):
    sizes = (("pedro", 12, 900), ("lora", 4, 1000), ("lora", 8, 2000), ("pedro", 24, 1800))
    for method, r, matrices in sizes:
        parameters = {"matrices": matrices, "trainable": matrices, "total": 10**6}
        five(tmp_path, method, r=r, parameters=parameters, suite="figure3", **LLAMA)
    table = only(tmp_path)
    pairs = {
        (one.method, one.other) for one in table.sections[0].verdicts if one.tested is not None
    }
    assert pairs == {("PEDRO (r=12)", "LoRA (r=4)"), ("PEDRO (r=24)", "LoRA (r=8)")}


def test_micro_tables_are_marked_and_take_no_difference_from_published_numbers(tmp_path):
    five(tmp_path, suite="micro_table4")
    five(tmp_path, suite="table4", **LLAMA)
    micro, large = built(tmp_path)
    assert micro.name == "micro_table4--micro--micro"
    assert "micro results" in caption(micro)
    assert "micro results" not in caption(large)
    cell, other = micro.sections[0].lines[0].cells[0], large.sections[0].lines[0].cells[0]
    assert (cell.published.printed, cell.difference) == ("87.4", None)
    assert other.difference == pytest.approx(80.0 - 87.4)


@pytest.mark.parametrize("part", [{"data": "micro"}, {"backbone": "micro"}])
def test_half_micro_tables_take_no_difference_either(tmp_path, part):
    five(tmp_path, suite="table4", **{**LLAMA, **part})
    table = only(tmp_path)
    cell = table.sections[0].lines[0].cells[0]
    assert (cell.published.printed, cell.difference) == ("87.4", None)


def test_ranks_and_parameters(tmp_path):
    parameters = {"matrices": 8945664, "trainable": 9560448, "total": 6738415616}
    for task, score in (("boolq", 80.0), ("sst2", 90.0)):
        five(tmp_path, "pedro", task, score, parameters=parameters)
        five(tmp_path, "lora", task, score - 1)
    table = only(tmp_path)
    lora, pedro = table.sections[0].lines
    assert dict(table.sections[0].ranks.average) == {"lora": 2.0, "pedro": 1.0}
    assert (pedro.matrices, pedro.trainable, lora.matrices) == (8945664, 9560448, None)


def test_the_least_is_the_best_where_the_task_says_so(tmp_path):
    """In marks, tests, ranks, the page's charts and the forest's axis alike."""
    error = {"main_metric": "mae", "groups": {"task": {"lower_is_better": True}}}
    for method, score in (("pedro", 2.0), ("lora", 4.0), ("ia3", 9.0)):
        for seed in range(5):
            metrics = {"test": {"mae": score + seed / 100}}
            run(tmp_path, method, "boolq", seed, **error, metrics=metrics)
    table = only(tmp_path)
    (section,) = table.sections
    cells = {line.method: line.cells[0] for line in section.lines}
    assert {name: cell.place for name, cell in cells.items()} == {"pedro": 1, "lora": 2, "ia3": 0}
    assert cells["pedro"].from_best is None
    assert cells["lora"].from_best.comparison.difference == pytest.approx(2.0)
    assert dict(section.ranks.average) == {"pedro": 1.0, "lora": 2.0, "ia3": 3.0}
    assert table.columns[0].scale == "mae, lower is better"
    assert "Lower is better: BoolQ (mae)." in notes(table)


def test_ranks_take_one_column_of_a_task_with_several_metrics(tmp_path):
    for method, bleu in (("red", 69.0), ("full_ft", 68.0), ("prefix_tuning", 67.0)):
        scores = {"bleu": bleu, "nist": 80 - bleu, "meteor_1.5": 46.0}
        names = {"backbone": "gpt2_medium", "data": "files", "suite": "red_table2"}
        for seed in range(2):
            metrics = {"test": {name: value + seed for name, value in scores.items()}}
            run(tmp_path, method, "e2e", seed, main_metric="bleu", metrics=metrics, **names)
    table = only(tmp_path)
    found = table.sections[0].ranks
    assert dict(found.average) == {"full_ft": 2.0, "prefix_tuning": 3.0, "red": 1.0}
    assert (found.tasks, found.statistic) == (("e2e",), None)
    claims = [one for one in table.sections[0].verdicts if one.other == "full_ft"]
    margins = {one.task.partition(" ")[2]: one.margin for one in claims}
    assert margins == {
        "(bleu)": "3 points",
        "(meteor_1.5)": "3 points",
        "(rouge_l)": "3 points",
        "(nist)": "6%",
        "(cider)": "6%",
    }


def test_what_was_left_out_or_came_to_nothing_is_told(tmp_path):
    for seed in range(5):
        run(tmp_path, seed=seed, code=1, key="aaaaaaaaaaaa")
    later = {"key": "bbbbbbbbbbbb", "metrics": {}, "started": "2026-02-01T00:00:00+00:00"}
    for seed in (0, 1):
        run(tmp_path, seed=seed, status="failed", error="out of memory.", **later)
    run(tmp_path, seed=2, status="running", **later)
    table = only(tmp_path)
    told = "pedro on boolq (key bbbbbbbbbbbb: seed 0, 1 failed, seed 2 unfinished)"
    assert tuple(notes(table)) == (f"Newer runs than those shown have not finished: {told}.",)


def test_uncommitted_code_is_told_by_cell(tmp_path):
    run(tmp_path, seed=0, environment={"dirty": True})
    run(tmp_path, seed=1, environment={"dirty": False})
    run(tmp_path, seed=2, environment={"dirty": None})
    table = only(tmp_path)
    assert "Uncommitted code: pedro on boolq (1 of 3 runs)." in notes(table)
    assert "Not known whether committed: pedro on boolq (1 of 3 runs)." in notes(table)
    assert table.sections[0].lines[0].cells[0].dirty == 1


def test_a_meteor_without_word_lists_has_a_column_of_its_own_and_no_published_number(tmp_path):
    """Next to runs with METEOR 1.5 and a record from before the two had names."""
    names = {"backbone": "gpt2_medium", "data": "files", "suite": "red_table2"}
    said = {"red": "meteor_1.5", "full_ft": "meteor_exact_stem", "prefix_tuning": "meteor"}
    for method, name in said.items():
        scores = {"test": {"bleu": 68.0, name: 45.0}}
        run(tmp_path, method, "e2e", 0, main_metric="bleu", metrics=scores, **names)
    table = only(tmp_path)
    (section,) = table.sections
    headings = [column.heading for column in table.columns]
    assert headings[:4] == [
        "e2e (bleu)",
        "e2e (nist)",
        "e2e (meteor_1.5)",
        "e2e METEOR (exact, stem)",
    ]
    found = {
        line.method: [(cell.spread is not None, cell.published) for cell in line.cells[2:4]]
        for line in section.lines
    }
    published = {method: numbers[0][1].printed for method, numbers in found.items()}
    assert (published["red"], published["full_ft"]) == ("44.99", "45.95")
    scored = {method: [is_there for is_there, _ in numbers] for method, numbers in found.items()}
    assert {method: scored[method] for method in said} == {
        "red": [True, False],
        "full_ft": [False, True],
        "prefix_tuning": [False, False],
    }
    assert all(numbers[1][1] is None for numbers in found.values())


def test_a_small_study_has_its_tables_methods_and_the_columns_that_it_ran(tmp_path):
    small = {"suite": "small_table1", "backbone": "smollm2_135m", "data": "files"}
    five(tmp_path, "pedro", "boolq", 83.0, **small)
    five(tmp_path, "dora", "sst2", 84.0, **small)
    table = only(tmp_path)
    assert [column.task for column in table.columns] == ["sst2", "boolq"]
    names = [line.method for line in table.sections[0].lines]
    assert (names[0], names[-2:]) == ("full_ft", ["pedro", "dora"])
    cells = {line.method: line.cells for line in table.sections[0].lines}
    assert cells["pedro"][1].published is not None
    assert not any(cell.is_comparable for own in cells.values() for cell in own)
