"""Where a record's path says that its results_dir is; every command that asks has one answer."""

from pathlib import Path

import pytest

from pedro_bench import records
from pedro_bench.integrations.export.seeds import seeds_of
from tests.unit.analysis.runs import run


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("results/runs/main/r.json", "results"),
        ("/far/anew/runs/main/r.json", "/far/anew"),
        ("anew/instruct/mmlu/r--k.json", "anew"),
        ("runs/main/r.json", "."),
        ("outputs/main/r", None),
        ("outputs/main/r.json", None),
    ],
)
def test_the_results_folder_of_a_record(path, folder):
    assert records.results_folder(path) == (folder and Path(folder))


@pytest.mark.parametrize("path", ["r.json", "./r.json", "../main/r.json", "../../runs/main/r.json"])
def test_a_path_that_begins_within_the_results_folder(path, tmp_path, monkeypatch):
    own = tmp_path / "anew" / "runs" / "main"
    own.mkdir(parents=True)
    monkeypatch.chdir(own)
    assert records.results_folder(path).resolve() == tmp_path / "anew"


def test_the_seeds_of_a_run_that_is_named_from_its_own_folder(tmp_path, monkeypatch):
    """An export's card took the run for one whose records are elsewhere, or refused its suite ''."""
    path = run(tmp_path, seed=0)
    run(tmp_path, seed=1)
    monkeypatch.chdir(path.parent)
    assert [one.seed for one in seeds_of(path.name, {})] == [0, 1]
