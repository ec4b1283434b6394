"""Rows whose runs are of several versions of a component, or older than a setting."""

import pytest

from pedro_bench.reporting.notes import notes
from tests.unit.analysis.runs import built, five, rows, run, seeds

LATER = "2026-02-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("older", "newer", "what"),
    [
        (
            {"groups": {"task": {"version": 1, "prompt": "Is it so?"}}},
            {"groups": {"task": {"version": 2, "prompt": "So?"}}},
            "task",
        ),
        (
            {"versions": {"trainer": 1}, "code": 1},
            {"versions": {"trainer": 2}, "code": 2},
            "trainer",
        ),
        (
            {"versions": {"method.Pedro": 1, "trainer": 1}, "code": 1},
            {"versions": {"method.Pedro": 2, "trainer": 1}, "code": 2},
            "method.Pedro",
        ),
    ],
)
@pytest.mark.parametrize("times", [{}, {"started": LATER}])
def test_a_new_version_makes_only_its_own_runs_due(older, newer, what, times, tmp_path):
    """Whenever the runs of the older one were made; other tables and rows stay as they are."""
    five(tmp_path, score=70.0, **older, **times)
    five(tmp_path, "lora", task="sst2")
    five(tmp_path, suite="other")
    run(tmp_path, seed=0, score=90.0, **newer)
    main, other = built(tmp_path)
    line = next(one for one in main.sections[0].lines if one.method == "pedro")
    cell = next(one for one in line.cells if one.column.task == "boolq")
    assert [one.score for one in cell.shown] == [90.0]
    assert seeds(cell, "superseded") == [0, 1, 2, 3, 4]
    (told,) = [one for one in notes(main) if "older version" in one]
    assert f"pedro on boolq (5: version 1 of {what}, now 2)." in told
    assert "cli.plan" in told
    assert not any("Superseded" in one for one in notes(main))
    assert seeds(other.sections[0].lines[0].cells[0]) == [0, 1, 2, 3, 4]


def test_versions_that_rose_and_fell_order_nothing(tmp_path):
    run(tmp_path, code=1, versions={"trainer": 1, "method.Pedro": 2})
    run(tmp_path, code=2, versions={"trainer": 2, "method.Pedro": 1}, started=LATER)
    (row,) = rows(tmp_path)
    assert row.cells["boolq"].shown[0].versions["trainer"] == 2, "the later one"


def test_a_setting_that_came_later_is_no_other_input(tmp_path):
    run(tmp_path, seed=0, groups={"task": {"max_new_tokens": 8}})
    later = {"max_new_tokens": 8, "train_split": "train", "lower_is_better": False}
    run(tmp_path, seed=0, groups={"task": later}, started=LATER)
    (row,) = rows(tmp_path)
    assert seeds(row.cells["boolq"], "superseded") == [0]
