"""Checkpoints under damage: bytes flipped, files cut off or gone, another run's."""

import logging
import resource
import shutil
from pathlib import Path

import pytest
import torch

from pedro_bench.errors import RecordError, TrainingError
from pedro_bench.training.checkpoint import Checkpoint, CheckpointStore, Identity
from pedro_bench.training.saved_folder import (
    Saved,
    read_folder,
    remove_results,
    restart,
    write_folder,
)
from pedro_bench.training.state import EarlyStopping, stopping_rows

IDENTITY = Identity(key="abc", seed=3)


def checkpoint(step: int, best_step: int) -> Checkpoint:
    tensors = {
        "adapter": {"w": torch.full((4, 3), float(step)), "s": torch.tensor(1.5)},
        "runtime": {},
    }
    return Checkpoint(step, best_step, {"loop": {"loss": 0.1 + step}}, tensors)


def save(store: CheckpointStore, step: int, best_step: int | None = None) -> None:
    best = step if best_step is None else best_step
    if best == step:
        store.save_best(step, 1.0, {"w": torch.full((2,), float(step))})
    store.save(checkpoint(step, best))


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path, IDENTITY)


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_a_checkpoint_comes_back_exactly(store: CheckpointStore) -> None:
    save(store, 20)
    found = store.newest()
    assert found is not None
    assert (found.step, found.best_step, found.state["loop"]) == (20, 20, {"loss": 20.1})
    assert torch.equal(found.tensors["adapter"]["w"], torch.full((4, 3), 20.0))
    assert found.tensors["adapter"]["s"].item() == 1.5
    assert found.tensors["runtime"] == {}
    assert store.load_best(20)["w"].tolist() == [20.0, 20.0]


def test_the_last_two_are_kept_with_their_best(store: CheckpointStore) -> None:
    save(store, 10)
    save(store, 20)
    save(store, 30, best_step=20)
    assert names(store) == [
        "best-00000010",
        "best-00000020",
        "checkpoint-00000020",
        "checkpoint-00000030",
    ]
    save(store, 40)
    save(store, 50)
    assert names(store) == [
        "best-00000040",
        "best-00000050",
        "checkpoint-00000040",
        "checkpoint-00000050",
    ]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.fault(
    what="A checkpoint cut short, a flipped bit, a missing file",
    how="each done to the newest checkpoint and to its best adapter",
    lost="nothing but the steps since the checkpoint before; a warning names the file",
)
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize(
    "name",
    [
        "checkpoint-00000030/adapter.safetensors",
        "checkpoint-00000030/state.json",
        "checkpoint-00000030/manifest.json",
        "best-00000030/adapter.safetensors",
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_said(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, damage: object, name: str
) -> None:
    save(store, 20)
    save(store, 30)
    damage(store.folder / name)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        found = store.newest()
    assert found is not None
    assert found.step == 20
    assert "checkpoint-00000030 is damaged" in caplog.text
    assert names(store) == ["best-00000020", "checkpoint-00000020"]


@pytest.mark.fault(
    what="All checkpoints damaged",
    how="every checkpoint is cut short",
    lost="the run starts afresh; its record is the same",
)
def test_with_all_damaged_the_run_starts_afresh(store: CheckpointStore) -> None:
    save(store, 20)
    (store.folder / "checkpoint-00000020" / "state.json").unlink()
    assert store.newest() is None
    assert names(store) == []


def test_a_half_written_folder_is_swept_away(store: CheckpointStore) -> None:
    save(store, 20)
    partial = store.folder / ".partial-checkpoint-00000030"
    partial.mkdir()
    (partial / "adapter.safetensors").write_bytes(b"half")
    found = store.newest()
    assert found is not None
    assert found.step == 20
    assert not partial.exists()


def test_what_a_kill_before_the_clearing_left_is_cleared_on_resume(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(CheckpointStore, "_remove_outdated", lambda self: None)
        for step in (10, 20, 30):
            save(store, step)
    found = store.newest()
    assert found is not None
    assert found.step == 30
    assert names(store) == [
        "best-00000020",
        "best-00000030",
        "checkpoint-00000020",
        "checkpoint-00000030",
    ]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Identity(key="xyz", seed=3), "of key xyz, got abc"),
        (Identity(key="abc", seed=4), "of seed 4, got 3"),
        (Identity(key="abc", seed=3, schema=99), "of schema 99, got 2"),
        (Identity(key="abc", seed=3, num_processes=2), "of num_processes 2, got 1"),
    ],
)
def test_another_runs_checkpoint_is_refused(
    store: CheckpointStore, tmp_path: Path, other: Identity, message: str
) -> None:
    save(store, 20)
    with pytest.raises(RecordError, match=message):
        CheckpointStore(tmp_path, other).newest()
    assert "checkpoint-00000020" in names(store)


def test_phases_do_not_see_each_other(store: CheckpointStore, tmp_path: Path) -> None:
    save(store, 20)
    assert CheckpointStore(tmp_path, Identity(key="abc", seed=3, phase=1)).newest() is None
    assert store.newest() is not None


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = CheckpointStore(tmp_path / "file", IDENTITY)
    with pytest.raises(
        TrainingError,
        match=r"working folder .*phase-0 must be writable .*, got Not a directory: .*output_dir",
    ):
        store.save(checkpoint(10, 0))


def test_a_full_disk_leaves_nothing_half_written(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, 20)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*free some space"):
        store.save(checkpoint(30, 20))
    assert names(store) == ["best-00000020", "checkpoint-00000020"]


@pytest.mark.fault(
    what="Disk quota reached while a checkpoint is written",
    how="RLIMIT_FSIZE of 20 kB",
    lost="nothing: the last checkpoint stays whole, one sentence",
)
def test_a_file_that_cannot_grow_leaves_nothing_half_written(store: CheckpointStore) -> None:
    save(store, 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    tensors = {"adapter": {"w": torch.zeros(100_000)}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(TrainingError, match=r"File too large.*set output_dir to another disk"):
            store.save(Checkpoint(30, 20, {}, tensors))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(store) == ["best-00000020", "checkpoint-00000020"]


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = {"parts": {"whole": whole, "row": whole[1], "turned": whole.T}}
    write_folder(tmp_path / "saved", Saved({}, {}, tensors))
    found = read_folder(tmp_path / "saved").tensors["parts"]
    assert found["row"].tolist() == [3.0, 4.0, 5.0]
    assert found["turned"].tolist() == whole.T.tolist()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_gives_way_and_what_it_names_stays(tmp_path: Path, is_there: bool) -> None:
    """Such as an adapter that was moved to another disk, or another run's."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "run"
    if is_there:
        write_folder(elsewhere, Saved({}, {"of": "another"}, {}))
    folder.mkdir()
    for name in ("adapter", "phase-1"):
        (folder / name).symlink_to(elsewhere, target_is_directory=True)
    write_folder(folder / "adapter", Saved({}, {"of": "this"}, {}))
    assert read_folder(folder / "adapter").state == {"of": "this"}
    assert not (folder / "adapter").is_symlink()
    restart(folder)
    assert [path.name for path in folder.iterdir()] == ["adapter"]
    shutil.rmtree(folder / "adapter")
    (folder / "adapter").symlink_to(elsewhere, target_is_directory=True)
    remove_results(folder, tmp_path / "record.json")
    assert list(folder.iterdir()) == []
    assert elsewhere.exists() == is_there
    if is_there:
        assert read_folder(elsewhere).state == {"of": "another"}


def test_finished_runs_are_cleared_and_others_restarted_with_nothing(
    store: CheckpointStore, tmp_path: Path
) -> None:
    save(store, 20)
    restart(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_stops_after_patience_evaluations_without_a_lower_loss() -> None:
    stopping = EarlyStopping(patience=3)
    outcomes = [
        (stopping.update(step, loss), stopping.is_over)
        for step, loss in ((2, 3.0), (4, 2.0), (6, 2.5), (8, 2.0), (10, 1.9), (12, 2.0), (14, 1.9))
    ]
    assert outcomes == [
        (True, False),
        (True, False),
        (False, False),
        (False, False),  # an equal loss is no improvement
        (True, False),
        (False, False),
        (False, False),
    ]
    assert (stopping.best_step, stopping.best_dev_loss, stopping.num_waited) == (10, 1.9, 2)
    assert stopping.update(16, 5.0) is False
    assert stopping.is_over


def test_it_never_stops_before_the_first_evaluation() -> None:
    assert not EarlyStopping(patience=1).is_over


def test_without_patience_it_never_stops() -> None:
    stopping = EarlyStopping(patience=None)
    for step in range(1, 100):
        stopping.update(step, float(step))
    assert (stopping.best_step, stopping.num_waited, stopping.is_over) == (1, 98, False)


def test_few_dev_rows_are_the_same_for_every_run() -> None:
    rows = [f"row {number}" for number in range(1000)]
    assert stopping_rows(rows, None) == stopping_rows(rows, 1000) == rows
    drawn = list(stopping_rows(rows, 400))
    assert drawn == list(stopping_rows(rows, 400))
    assert len(set(drawn)) == 400
    assert drawn == sorted(drawn, key=rows.index)
    assert 400 < sum(map(rows.index, drawn)) / 400 < 600, "they come from everywhere"
