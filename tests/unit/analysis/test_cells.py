import hashlib
import json

import pytest

import pedro_bench
from pedro_bench.analysis.cells import Column, cell_of, compare
from pedro_bench.analysis.comparison import NO_SPREAD, Difference
from pedro_bench.analysis.reading import read_runs
from pedro_bench.errors import RecordError
from pedro_bench.records.packing import pack
from pedro_bench.reporting.notes import notes
from tests.unit.analysis.runs import only, run


def evidence_of(runs, metric):
    return cell_of(Column("boolq", "BoolQ", metric), {"shown": runs})


TWO = ([100.0, 0.0, 100.0], [100.0, 100.0, 100.0])


def cell(folder, method="pedro", rows=TWO, **changes):
    paths = [
        run(folder, method, seed=seed, score=sum(one) / len(one), examples=one, **changes)
        for seed, one in enumerate(rows)
    ]
    return paths, read_runs(paths)


def test_scores_of_examples_by_seed_in_order_of_rows(tmp_path):
    paths, runs = cell(tmp_path, splits={"test": {"rows": 3, "fingerprint": "ab"}})
    found = evidence_of(runs, "acc")
    assert found.examples.tolist() == [list(one) for one in TWO]
    assert (found.values, found.reason) == ((200 / 3, 100.0), "")
    assert paths[0] != paths[1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "the predictions of seed 0 are gone"),
        (lambda path: path.write_text("{}\n"), "of seed 0 are not those that were recorded"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path, spoil, reason):
    paths, runs = cell(tmp_path)
    spoil(next((tmp_path / "runs/main/predictions").glob("*seed0*")))
    found = evidence_of(runs, "acc")
    assert found.examples is None
    assert reason in found.reason
    assert found.is_lost
    assert len(found.values) == 2
    assert len(paths) == 2


def test_predictions_in_a_damaged_pack_are_damaged_and_not_gone(tmp_path):
    paths, runs = cell(tmp_path)
    pack(tmp_path, "main")
    packed = tmp_path / "runs/main/packed_predictions.parquet"
    packed.write_bytes(packed.read_bytes()[:-20])
    found = evidence_of(runs, "acc")
    told = "in a damaged file, packed_predictions.parquet, to be restored from version control"
    assert found.reason == f"the predictions of seed 0, 1 are {told}"
    assert found.is_lost
    with pytest.raises(RecordError, match=f"got predictions that are {told}"):
        pedro_bench.predictions(paths[0])
    packed.unlink()
    assert evidence_of(runs, "acc").reason == "the predictions of seed 0, 1 are gone"


def test_predictions_that_cannot_be_read_are_not_gone(tmp_path):
    _, runs = cell(tmp_path)
    place = next((tmp_path / "runs/main/predictions").glob("*seed0*"))
    place.unlink()
    place.mkdir()
    told = "the predictions of seed 0 are not readable (Is a directory)"
    assert evidence_of(runs, "acc").reason == told


@pytest.mark.parametrize("place", ["../../secret", "/etc/passwd", "predictions/../../x", ""])
def test_predictions_of_another_folder_are_not_read(tmp_path, place):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/secret").write_text("")
    digest = hashlib.sha256(b"").hexdigest()
    paths = [
        run(tmp_path, seed=seed, predictions={"path": place, "sha256": digest}) for seed in range(2)
    ]
    found = evidence_of(read_runs(paths), "acc")
    assert found.reason == "the predictions of seed 0, 1 are not in the folder predictions"
    assert found.is_lost


def test_a_score_that_was_changed_by_hand_has_no_examples(tmp_path):
    """Else its interval, drawn from the predictions, would lie elsewhere than its median."""
    paths, _ = cell(tmp_path)
    record = json.loads(paths[1].read_text())
    paths[1].write_text(json.dumps(record | {"metrics": {"test": {"acc": 90.0}}}))
    found = evidence_of(read_runs(paths), "acc")
    told = "the predictions of seed 1 have another acc than the record"
    assert (found.values, found.examples, found.reason) == ((200 / 3, 90.0), None, told)
    assert f"Over seeds alone: pedro on boolq ({told})." in notes(only(tmp_path))


def test_every_seed_whose_predictions_cannot_be_had_is_named_under_the_table(tmp_path):
    _, runs = cell(tmp_path, rows=(*TWO, TWO[0], TWO[1]))
    folder = tmp_path / "runs/main/predictions"
    for seed in (0, 2):
        next(folder.glob(f"*seed{seed}*")).unlink()
    next(folder.glob("*seed3*")).write_text("{}\n")
    told = (
        "the predictions of seed 0, 2 are gone and the predictions of seed 3 are not those that were "
        "recorded"
    )
    assert evidence_of(runs, "acc").reason == told
    table = only(tmp_path)
    assert f"Over seeds alone: pedro on boolq ({told})." in notes(table)


def test_predictions_that_were_never_recorded_are_no_loss(tmp_path):
    runs = read_runs([run(tmp_path, seed=seed) for seed in range(2)])
    assert not evidence_of(runs, "acc").is_lost


def test_other_metrics_and_predictions_without_scores_have_no_examples(tmp_path):
    _, runs = cell(tmp_path, metrics={"test": {"acc": 80.0, "mcc": 0.6}})
    assert evidence_of(runs, "mcc").reason == "examples have no mcc of their own"
    assert evidence_of([], "acc").values == ()
    none = read_runs([run(tmp_path, "ia3", seed=seed) for seed in range(2)])
    assert evidence_of(none, "acc").reason == "predictions were not recorded"


def test_predictions_without_scores(tmp_path):
    paths = [run(tmp_path, seed=seed, examples=[None, None]) for seed in range(2)]
    found = evidence_of(read_runs(paths), "acc")
    assert found.reason == "predictions hold no scores of single examples"


def test_a_comparison_uses_examples_only_where_both_answered_the_same(tmp_path):
    same = {"splits": {"test": {"rows": 3, "fingerprint": "ab"}}}
    other = {"splits": {"test": {"rows": 3, "fingerprint": "cd"}}}
    unknown = evidence_of(cell(tmp_path, "bitfit")[1], "acc")
    a = evidence_of(cell(tmp_path, **same)[1], "acc")
    b = evidence_of(cell(tmp_path, "lora", **same)[1], "acc")
    c = evidence_of(cell(tmp_path, "ia3", **other)[1], "acc")
    paired, apart = compare(a, b), compare(a, unknown)
    assert isinstance(paired, Difference)
    assert isinstance(apart, Difference)
    assert (paired.examples, apart.examples) == (3, 0)
    assert compare(a, c) == "different protocols (test rows ab and cd)"
    one = evidence_of(read_runs([run(tmp_path, "red")]), "acc")
    same = [read_runs([run(tmp_path, name, seed=seed) for seed in range(2)]) for name in "xy"]
    assert compare(*(evidence_of(runs, "acc") for runs in same)) == NO_SPREAD
    assert compare(a, one) == "a comparison needs two finished runs of each method"
