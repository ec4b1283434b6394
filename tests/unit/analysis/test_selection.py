"""Which runs of a cell are shown, and what becomes of the others."""

import pytest

from pedro_bench.errors import RecordError
from tests.unit.analysis.runs import built, five, rows, run, seeds


def test_a_newer_group_replaces_an_older_one_and_says_so(tmp_path):
    five(tmp_path, code=1, score=70.0)
    for seed in range(3):
        run(tmp_path, seed=seed, code=2, started=f"2026-02-01T00:00:0{seed}+00:00", score=90.0)
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert [one.score for one in cell.shown] == [90.0, 90.0, 90.0]
    assert len({one.key for one in cell.runs["superseded"]}) == 1


def test_groups_that_overlap_in_time_are_refused(tmp_path):
    run(tmp_path, seed=0, code=1)
    run(tmp_path, seed=2, code=1)
    run(tmp_path, seed=1, code=2)
    with pytest.raises(RecordError, match=r"pedro on boolq in suite 'main' must share one key"):
        built(tmp_path)


def test_groups_that_differ_in_what_no_row_shows_are_refused(tmp_path):
    run(tmp_path, seed=0, groups={"data": {"holdout": 0.1}})
    run(tmp_path, seed=0, groups={"data": {"holdout": 0.2}}, started="2026-02-01T00:00:00+00:00")
    with pytest.raises(RecordError, match="neither settings nor time can order"):
        built(tmp_path)


def test_another_printed_name_is_no_other_input(tmp_path):
    path = run(tmp_path, seed=0)
    path.write_text(path.read_text().replace('"label": "BoolQ"', '"label": "Bool-Q"'))
    run(tmp_path, seed=0, code=2, started="2026-02-01T00:00:00+00:00")
    (row,) = rows(tmp_path)
    assert seeds(row.cells["boolq"], "superseded") == [0]


def test_failed_runs_are_kept_unless_their_seed_finished(tmp_path):
    run(tmp_path, seed=0, code=1, status="failed", metrics={}, error="out of memory.")
    run(tmp_path, seed=1, code=1, status="failed", metrics={}, error="out of memory.")
    run(tmp_path, seed=0, code=2, started="2026-02-01T00:00:00+00:00")
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert seeds(cell) == [0]
    assert seeds(cell, "failed") == [1]


def test_runs_begun_and_not_finished_are_kept_apart(tmp_path):
    run(tmp_path, seed=0)
    run(tmp_path, seed=1, status="running", metrics={})
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert seeds(cell, "unfinished") == [1]
    assert seeds(cell, "failed") == []


def test_another_spelling_of_what_no_row_shows_is_no_other_input(tmp_path):
    later = "2026-02-01T00:00:00+00:00"
    run(tmp_path, code=1, groups={"data": {"holdout": None, "seed": 0}})
    run(tmp_path, code=2, groups={"data": {"seed": 0.0}}, started=later)
    (row,) = rows(tmp_path)
    assert len({one.key for one in row.cells["boolq"].runs["superseded"]}) == 1


def test_newer_runs_that_did_not_finish_are_kept_beside_the_older_ones(tmp_path):
    for seed in range(3):
        run(tmp_path, seed=seed, code=1)
    later = {"code": 2, "metrics": {}, "started": "2026-02-01T00:00:00+00:00"}
    run(tmp_path, seed=0, status="failed", error="out of memory.", **later)
    run(tmp_path, seed=2, status="running", **later)
    run(tmp_path, seed=3, status="running", **later)
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert seeds(cell) == [0, 1, 2]
    assert [(one.seed, one.status) for one in cell.runs["overtaking"]] == [
        (0, "failed"),
        (2, "running"),
    ]
    assert seeds(cell, "unfinished") == [3]
    assert seeds(cell, "failed") == []
