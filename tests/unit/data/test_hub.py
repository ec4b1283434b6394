"""The Hub's path, tried offline: `load_dataset` takes a local folder in place of a Hub id."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from datasets import load_dataset
from pyarrow import parquet

from pedro_bench.data.hub import HubSource
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def dataset_folder(tmp_path, monkeypatch):
    """A data-set repository as a local folder, in the Hub's layout, and a cache of its own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "glue"
    folder.mkdir()
    for split, rows in {"train": 12, "validation": 6}.items():
        table = pa.table(
            {
                "sentence": [f"{split} {number}" for number in range(rows)],
                "label": [number % 2 for number in range(rows)],
            }
        )
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_rows_come_through_datasets(dataset_folder, make_task):
    task = make_task("sst2", hub_id=str(dataset_folder), hub_config=None, hub_revision=COMMIT)
    rows = HubSource(name="hub").read(task)
    assert rows["validation"][1].row == {"sentence": "validation 1", "label": 1}
    assert rows["validation"][1].place == f"{dataset_folder} validation row 2"
    splits = load_splits(task, HubSource(name="hub"))
    assert [splits[name].rows for name in ("train", "dev", "test")] == [9, 3, 6]


def test_absent_split(dataset_folder, make_task):
    (dataset_folder / "validation-00000-of-00001.parquet").unlink()
    task = make_task("sst2", hub_id=str(dataset_folder), hub_config=None, hub_revision=COMMIT)
    with pytest.raises(
        DataError, match=r"must have a split 'validation', got train: .*data.holdout"
    ):
        HubSource(name="hub").read(task)
    assert set(HubSource(name="hub", holdout=0.2).read(task)) == {"train"}
    lacking = replace(task, split_rule="train_only")
    assert set(HubSource(name="hub").read(lacking)) == {"train"}


@pytest.mark.parametrize("revision", [None, "main", "abc123"])
def test_unpinned_data_set_is_refused(revision, make_task):
    task = make_task("sst2", hub_revision=revision)
    message = f"task.hub_revision must be a full commit .*got {revision!r}: set task.hub_revision="
    for ask in (HubSource(name="hub").fingerprint, HubSource(name="hub").read):
        with pytest.raises(DataError, match=message):
            ask(task)


def test_task_without_a_data_set(make_task):
    with pytest.raises(
        DataError, match=r"task.hub_id must name a data set .*got null for task 'sst2'"
    ):
        HubSource(name="hub").fingerprint(make_task("sst2", hub_id=None))


def test_fingerprint_holds_the_revision(make_task):
    first = HubSource(name="hub").fingerprint(make_task("sst2"))
    assert first != HubSource(name="hub").fingerprint(make_task("sst2", hub_revision=COMMIT))


def test_offline_is_one_sentence_with_the_remedy(tmp_path, monkeypatch, make_task):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"data=files data.root=DIR, or .*HF_HOME") as caught:
        HubSource(name="hub").read(make_task("sst2", hub_id="nobody/has-this"))
    assert "\n" not in str(caught.value)
    assert "nobody/has-this (sst2) at revision" in str(caught.value)
    assert "got HF_HUB_OFFLINE: use" in str(caught.value)


def test_a_cached_copy_serves_offline_at_its_own_revision_only(
    dataset_folder, tmp_path, monkeypatch, make_task
):
    """`datasets` itself takes the newest copy in its cache, whatever revision was asked for."""
    load_dataset(str(dataset_folder))
    (cached,) = (tmp_path / "cache").glob("glue/default/0.0.0/*/")
    place = tmp_path / "cache" / "nobody___glue" / "default" / "0.0.0" / COMMIT
    place.parent.mkdir(parents=True)
    shutil.copytree(cached, place)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    task = make_task("sst2", hub_id="nobody/glue", hub_config=None, hub_revision=COMMIT)
    assert len(HubSource(name="hub").read(task)["train"]) == 12

    other = COMMIT[::-1]
    with pytest.raises(DataError, match=f"at revision {other} must be .* of revision {COMMIT}"):
        HubSource(name="hub").read(replace(task, hub_revision=other))


def test_the_fingerprint_of_a_folder_depends_on_its_content(dataset_folder, tmp_path, make_task):
    def fingerprint(folder):
        task = make_task("sst2", hub_id=str(folder), hub_config=None, hub_revision=COMMIT)
        return HubSource(name="hub").fingerprint(task)

    first = fingerprint(dataset_folder)
    assert first == fingerprint(dataset_folder)
    assert first == fingerprint(shutil.copytree(dataset_folder, tmp_path / "copy"))
    for kept_by_clients in (".git", ".cache/huggingface"):
        (dataset_folder / kept_by_clients).mkdir(parents=True)
        (dataset_folder / kept_by_clients / "state").write_text("now")
    assert first == fingerprint(dataset_folder)

    train = dataset_folder / "train-00000-of-00001.parquet"
    content = bytearray(train.read_bytes())
    content[100] ^= 1
    train.write_bytes(content)
    changed = fingerprint(dataset_folder)
    train.rename(dataset_folder / "train-00000-of-00002.parquet")
    (dataset_folder / "more").mkdir()
    (dataset_folder / "more" / "README.md").write_text("")
    moved = fingerprint(dataset_folder)
    assert len({first, changed, moved}) == 3
    (dataset_folder / "more" / "lost").symlink_to(tmp_path / "absent")
    with pytest.raises(DataError, match="more/lost must be readable, got No such file"):
        fingerprint(dataset_folder)


def test_half_a_surrogate_pair_is_one_sentence_with_the_reason(dataset_folder, make_task):
    (dataset_folder / "train-00000-of-00001.parquet").unlink()
    rows = '{"sentence": "a", "label": 1}\n{"sentence": "b \\ud83d", "label": 0}\n'
    (dataset_folder / "train.jsonl").write_text(rows)
    (dataset_folder / "validation-00000-of-00001.parquet").unlink()
    task = make_task("sst2", hub_id=str(dataset_folder), hub_config=None, hub_revision=COMMIT)
    with pytest.raises(DataError, match=r"got .*surrogate pair in string is invalid"):
        HubSource(name="hub", holdout=0.5).read(task)


def test_bytes_that_are_no_text_are_one_sentence(dataset_folder, make_task):
    offsets = pa.py_buffer(np.array([0, 1, 4], dtype=np.int32).tobytes())
    texts = [None, offsets, pa.py_buffer(b"a\xed\xa0\xbd")]
    table = pa.table({"sentence": pa.Array.from_buffers(pa.string(), 2, texts), "label": [0, 1]})
    parquet.write_table(table, dataset_folder / "train-00000-of-00001.parquet")
    task = make_task("sst2", hub_id=str(dataset_folder), hub_config=None, hub_revision=COMMIT)
    with pytest.raises(DataError, match=r"must be UTF-8 text, got byte 0xed"):
        HubSource(name="hub").read(task)
