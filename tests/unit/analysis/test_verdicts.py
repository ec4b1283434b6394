"""Verdicts on claims about averages and about what is not below; made-up records."""

import pytest

from pedro_bench.reporting.grids import grids
from tests.unit.analysis.runs import only, run

GLUE = {"mnli": "acc", "sst2": "acc", "mrpc": "acc", "cola": "mcc",
        "qnli": "acc", "qqp": "acc", "rte": "acc", "stsb": "pearson"}  # fmt: skip
METRICS = {"bleu": 60.0, "nist": 8.0, "meteor_1.5": 40.0, "rouge_l": 60.0, "cider": 2.0}


def glue(results_dir, method, offsets, seeds=3, **changes):
    """Write runs on GLUE whose scores are 80, the task's offset, and 0.01 a seed."""
    for task, metric in GLUE.items():
        for seed in range(seeds):
            value = 80.0 + offsets.get(task, 0.0) + 0.01 * seed
            run(results_dir, method, task, seed, main_metric=metric,
                metrics={"test": {metric: value}}, backbone="t5_base", data="files",
                suite="red_table3", **changes)  # fmt: skip


def e2e(results_dir, method, factors, seeds=3):
    for seed in range(seeds):
        scores = {
            name: value * (factors.get(name, 1.0) + 0.0001 * seed)
            for name, value in METRICS.items()
        }
        run(results_dir, method, "e2e", seed, main_metric="bleu", metrics={"test": scores},
            backbone="gpt2_medium", data="files", suite="red_table5")  # fmt: skip


def found(results_dir):
    table = only(results_dir)
    return table, table.sections[0].verdicts


def test_an_average_decides_where_single_tasks_differ(tmp_path):
    """Below on seven tasks and far above on one: above on average."""
    glue(tmp_path, "red", {"cola": 50.0, **dict.fromkeys(("mnli", "qnli", "qqp"), -2.0)})
    glue(tmp_path, "prompt_tuning", {})
    table, verdicts = found(tmp_path)
    (one,) = [verdict for verdict in verdicts if verdict.kind == "above"]
    assert (one.verdict, one.task, one.other) == ("supported", "average", "prompt_tuning")
    assert one.tested.comparison.difference == pytest.approx((50.0 - 3 * 2.0) / 8)
    assert one.tested.comparison.seeds == (3, 3)
    claims = next(block for block in grids(table) if block.caption.startswith("Claims"))
    assert claims.rows[0].cells[0].plain == "red above prompt_tuning on average"


@pytest.mark.parametrize(
    ("offset", "word"),
    [(0.9, "supported"), (20.0, "supported"), (-0.9, "supported"), (-1.1, "contradicted")],
)
def test_not_below_allows_any_gain_and_a_loss_within_the_margin(tmp_path, offset, word):
    glue(tmp_path, "red", dict.fromkeys(GLUE, offset))
    glue(tmp_path, "bitfit", {})
    table, verdicts = found(tmp_path)
    (one,) = [verdict for verdict in verdicts if verdict.tested]
    assert (one.kind, one.verdict, one.margin) == ("not_below", word, "1 point")
    claims = next(block for block in grids(table) if block.caption.startswith("Claims"))
    assert claims.rows[0].cells[0].plain == "red at most 1 point below bitfit on average"
    assert claims.rows[0].cells[3].plain == "--"


def test_an_average_needs_every_task_and_the_same_seeds(tmp_path):
    glue(tmp_path / "seeds", "red", {})
    glue(tmp_path / "seeds", "bitfit", {})
    run(tmp_path / "seeds", "bitfit", "rte", 3, backbone="t5_base", data="files",
        suite="red_table3")  # fmt: skip
    _, verdicts = found(tmp_path / "seeds")
    (one,) = [verdict for verdict in verdicts if verdict.other == "bitfit"]
    assert (one.verdict, one.reason) == (
        "not testable", "an average needs the same number of seeds on every task, two at least",
    )  # fmt: skip
    run(tmp_path / "tasks", "bitfit", "mnli", backbone="t5_base", data="files", suite="red_table3")
    glue(tmp_path / "tasks", "red", {})
    _, verdicts = found(tmp_path / "tasks")
    (one,) = [verdict for verdict in verdicts if verdict.other == "bitfit"]
    assert one.reason == "no finished run of bitfit on sst2"


def test_an_average_is_not_taken_over_different_protocols(tmp_path):
    glue(tmp_path, "red", {})
    glue(tmp_path, "bitfit", {}, groups={"trainer": {"max_steps": 5}})
    glue(tmp_path, "full_ft", {}, groups={"trainer": {"max_steps": 7}})
    _, verdicts = found(tmp_path)
    told = {one.other: one.reason for one in verdicts}
    assert told["bitfit"] == ""
    glue(
        tmp_path,
        "red",
        {},
        groups={"trainer": {"max_steps": 5}},
        started="2026-03-01T00:00:00+00:00",
    )
    _, verdicts = found(tmp_path)
    told = {one.other: one.reason for one in verdicts}
    assert told["bitfit"] == ""
    assert told["full_ft"] == "different protocols (trainer.max_steps 5 and 7)"


def test_metrics_on_other_scales_are_averaged_as_percentages(tmp_path):
    """CIDEr 3% above and BLEU 1% below: above on average, although BLEU loses more points."""
    e2e(tmp_path, "red", {"cider": 1.03, "bleu": 0.99})
    e2e(tmp_path, "lora_red_gpt2", {})
    _, verdicts = found(tmp_path)
    (one,) = [verdict for verdict in verdicts if verdict.kind == "above" and verdict.tested]
    assert one.tested.comparison.difference == pytest.approx(0.4, abs=0.01)
    assert (one.verdict, one.task) == ("supported", "average")
    cells = {verdict.task: verdict.verdict for verdict in verdicts if verdict.tested}
    assert (cells["e2e (cider)"], cells["e2e (bleu)"]) == ("supported", "contradicted")


def test_a_score_of_zero_is_no_base_of_percentages(tmp_path):
    e2e(tmp_path, "red", {})
    for seed in range(3):
        scores = {**METRICS, "cider": 0.0, "bleu": 50.0 + seed}
        run(tmp_path, "lora_red_gpt2", "e2e", seed, main_metric="bleu", metrics={"test": scores},
            backbone="gpt2_medium", data="files", suite="red_table5")  # fmt: skip
    _, verdicts = found(tmp_path)
    (one,) = [
        verdict
        for verdict in verdicts
        if verdict.kind == "above" and verdict.other == "lora_red_gpt2"
    ]
    assert one.reason == "nothing is a percentage of the score 0 on e2e"
