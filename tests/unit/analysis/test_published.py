"""Differences from the papers' numbers: only where a run was made as the paper's were."""

import pytest

from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import markdown
from tests.unit.analysis.runs import five, only, run
from tests.unit.analysis.test_evaluations import evaluate

LLAMA = {"backbone": "llama2_7b", "data": "hub"}
PAPER = {
    "trainer": {
        "lr": 1e-4,
        "num_epochs": 10,
        "max_steps": None,
        "warmup_ratio": 0.06,
        "beta1": 0.9,
    },
    "evaluation": {"_target_": "x.EvaluationConfig", "num_beams": 3, "length_penalty": 1.0},
    "backbone": {"path": "somewhere/7b", "random_weights": False},
}


def with_changes(group, **changes):
    return {**PAPER, group: {**PAPER[group], **changes}}


def cell_of(table, method):
    (line,) = (one for one in table.sections[0].lines if one.method == method)
    return next(cell for cell in line.cells if cell.shown)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (with_changes("trainer", max_steps=100), "trainer.max_steps=100"),
        (with_changes("trainer", num_epochs=1), "trainer.num_epochs=1"),
        (with_changes("trainer", group_by_length=True), "trainer.group_by_length=true"),
        (with_changes("evaluation", num_beams=1), "evaluation.num_beams=1"),
        (with_changes("evaluation", _target_="x.LikelihoodConfig"), "evaluation=likelihood"),
        (with_changes("backbone", random_weights=True), "backbone.random_weights=true"),
    ],
)
def test_another_protocol_takes_no_difference_and_is_named(tmp_path, groups, told):
    five(tmp_path, "pedro", suite="table4", groups=groups, **LLAMA)
    five(tmp_path, "pedro_1", suite="table4", groups=PAPER, **LLAMA)
    table = only(tmp_path)
    cell, other = cell_of(table, "pedro"), cell_of(table, "pedro_1")
    assert (cell.published.printed, cell.difference) == ("87.4", None)
    assert other.difference == pytest.approx(80.0 - 87.1)
    note = f"Not by the paper's protocol, so no difference is taken: pedro on boolq ({told})."
    assert note in notes(table)
    where = "where backbone, data and protocol are the paper's"
    assert f"In brackets: our median less the published number, {where}." in markdown(table)


def test_rates_and_portions_are_no_other_protocol(tmp_path):
    groups = with_changes("trainer", lr=3e-4, micro_batch_size=4, micro_batch_tokens=None)
    five(tmp_path, "pedro", suite="table4", groups=groups, **LLAMA)
    table = only(tmp_path)
    assert cell_of(table, "pedro").difference == pytest.approx(80.0 - 87.4)
    assert "- In brackets: our median less the published number." in markdown(table)
    assert not any("protocol" in note for note in notes(table))


def test_red_has_epochs_and_decoding_of_its_own_and_reports_means(tmp_path):
    places = {"suite": "red_table6", "backbone": "roberta_large", "data": "hub"}
    own = with_changes("trainer", num_epochs=40, batch_size=32)
    own["evaluation"] = {"num_beams": 1}
    five(tmp_path, "red", "mrpc", groups=own, **places)
    other = with_changes("trainer", num_epochs=40, batch_size=32, max_steps=9)
    five(tmp_path, "red", "cola", groups={**own, "trainer": other["trainer"]}, **places)
    table = only(tmp_path)
    (line,) = (one for one in table.sections[0].lines if one.method == "red")
    assert line.cells[0].difference is not None
    assert line.cells[1].difference is None
    note = "RED reports the mean over its seeds; the scores next to it are our medians."
    assert note in notes(table)


@pytest.mark.parametrize(
    ("judge", "limit", "told"),
    [
        ("tiny", None, "judge.model=tiny"),
        ("gpt-4", 10, "limit=10"),
        ("gpt-4-0613", 10, "limit=10, judge.model=gpt-4-0613"),
        ("gpt-4o", None, "judge.model=gpt-4o"),
        ("gpt-4.1-mini", None, "judge.model=gpt-4.1-mini"),
        ("openai/gpt-4", None, "judge.model=openai/gpt-4"),
        ("gpt-4", None, ""),
    ],
)
def test_an_evaluation_of_some_rows_or_by_another_judge_takes_no_difference(
    tmp_path, judge, limit, told
):
    for seed in range(5):
        of = run(tmp_path, "pedro", "alpaca", seed, suite="table2", groups=PAPER, **LLAMA)
        settings = {"judge": {"model": judge}, "limit": limit}
        evaluate(tmp_path, of, "mt_bench", {"score": 7.0 + seed / 10}, settings=settings)
    table = only(tmp_path)
    found = table.sections[0].lines[1].cells[0]
    assert found.published is not None
    if told:
        assert found.difference is None
        assert any(f"pedro on mt_bench ({told})" in note for note in notes(table))
    else:
        assert found.difference == pytest.approx(7.2 - found.published.value)
