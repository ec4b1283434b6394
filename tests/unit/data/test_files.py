import errno
import json
import os
import re
from pathlib import Path

import pytest

from pedro_bench.data.files import FilesSource, find_split
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import ConfigError, DataError

REAL_DATA = Path(
    os.environ.get("PEDRO_BENCH_REAL_DATA", Path(__file__).parents[4] / "shared" / "data")
)


def source(root, **options):
    return FilesSource(name="files", root=str(root), **options)


def lay(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        stem, _, ending = name.rpartition("_")
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.{ending}").write_text(lines)
    return folder


ROWS = [{"sentence": f"s{number}", "label": number % 2} for number in range(12)]


@pytest.mark.parametrize("name", ["validation", "val", "dev", "validation_matched", "dev_subset"])
def test_splits_are_found_by_name(tmp_path, make_task, name):
    lay(tmp_path / "sst2", **{"train_subset_jsonl": ROWS[:8], f"{name}_jsonl": ROWS[8:]})
    found = source(tmp_path).read(make_task("sst2"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 8, "validation": 4}
    assert found["validation"][0].place.endswith(f"{name}.jsonl:1")


@pytest.mark.parametrize("ask", ["read", "fingerprint"])
@pytest.mark.parametrize("call", ["is_dir", "iterdir"])
def test_a_folder_that_may_not_be_read_is_one_sentence(tmp_path, make_task, monkeypatch, ask, call):
    folder = lay(tmp_path / "sst2", train_jsonl=ROWS[:8], dev_jsonl=ROWS[8:])

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, call, refuse)
    place = tmp_path if call == "is_dir" else folder
    said = f"data.root must be a folder that can be read, got '{tmp_path}' ({place}: Permission denied)"
    with pytest.raises(DataError, match=re.escape(said)):
        getattr(source(tmp_path), ask)(make_task("sst2"))


def test_official_name_wins_over_a_likely_one(tmp_path):
    folder = lay(tmp_path, train_jsonl=ROWS, train_small_jsonl=ROWS)
    assert [path.name for path in find_split(folder, "train", "sst2")] == ["train.jsonl"]


def test_two_candidates_stop_the_run(tmp_path, make_task):
    lay(tmp_path / "sst2", train_jsonl=ROWS, dev_jsonl=ROWS, validation_jsonl=ROWS)
    message = "must hold one validation file, got dev.jsonl, validation.jsonl: move away"
    with pytest.raises(DataError, match=message):
        source(tmp_path).fingerprint(make_task("sst2"))


def test_shards_are_one_split(tmp_path):
    names = ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]
    for name in names:
        (tmp_path / name).write_text("{}\n")
    assert [path.name for path in find_split(tmp_path, "train", "sst2")] == names


def test_missing_shard(tmp_path):
    for number in (0, 2):
        (tmp_path / f"train-0000{number}-of-00003.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"all 3 shards of 'train', got 2: fetch number 00001"):
        find_split(tmp_path, "train", "sst2")


def test_unlabelled_test_rows_are_never_read(tmp_path, make_task):
    lay(tmp_path / "sst2", train_jsonl=ROWS, dev_jsonl=ROWS, test_jsonl=ROWS)
    lay(tmp_path / "sst2", test_unlabelled_jsonl=ROWS)
    assert set(source(tmp_path).read(make_task("sst2"))) == {"train", "validation"}


def test_a_task_with_given_splits_reads_all_three(tmp_path, make_task):
    lay(tmp_path / "sst2", train_jsonl=ROWS[:4], dev_jsonl=ROWS[4:8], test_jsonl=ROWS[8:])
    splits = load_splits(make_task("sst2", split_rule="given"), source(tmp_path))
    assert [splits[name].rows for name in ("train", "dev", "test")] == [4, 4, 4]


def test_absent_validation_names_what_is_there_and_the_remedy(tmp_path, make_task):
    lay(tmp_path / "sst2", train_jsonl=ROWS)
    task = make_task("sst2")
    message = "sst2 must hold a validation file.*got train.jsonl: add it, or give data.holdout=0.2"
    with pytest.raises(DataError, match=message):
        source(tmp_path).read(task)
    assert set(source(tmp_path, holdout=0.25).read(task)) == {"train"}


def test_a_release_of_train_rows_alone_needs_no_validation_file(tmp_path, make_task):
    lay(tmp_path / "sst2", train_jsonl=ROWS)
    assert set(source(tmp_path).read(make_task("sst2", split_rule="train_only"))) == {"train"}


def test_absent_train_cannot_be_stood_in_for(tmp_path, make_task):
    lay(tmp_path / "sst2", dev_jsonl=ROWS)
    with pytest.raises(DataError, match=r"hold a train file named train\* .*got dev.jsonl: add"):
        source(tmp_path, holdout=0.25).read(make_task("sst2"))


def test_missing_folders(tmp_path, make_task):
    task = make_task("sst2")
    with pytest.raises(DataError, match=r"data.root must be a folder, got '.*nowhere'"):
        source(tmp_path / "nowhere").fingerprint(task)
    (tmp_path / "SST-2").mkdir()
    with pytest.raises(DataError, match=r"must hold a folder 'sst2'.*Known: SST-2"):
        source(tmp_path).fingerprint(task)
    for name in (".git", "a", "b", "c"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"Known: SST-2, a, b and 1 more\."):
        source(tmp_path).fingerprint(task)


def test_settings_check_themselves():
    with pytest.raises(ConfigError, match=r"data.root must be the folder .* got null: give"):
        FilesSource(name="files")
    with pytest.raises(ConfigError, match=r"data.holdout must be .*at most 0.5 or null, got 0.7"):
        source("x", holdout=0.7)


def test_fingerprint_follows_the_bytes(tmp_path, make_task):
    task = make_task("sst2")
    lay(tmp_path / "sst2", train_jsonl=ROWS[:8], dev_jsonl=ROWS[8:])
    before = source(tmp_path).fingerprint(task)
    assert before == source(tmp_path).fingerprint(task)
    lay(tmp_path / "sst2", train_jsonl=ROWS[:7], dev_jsonl=ROWS[8:])
    assert before != source(tmp_path).fingerprint(task)


def test_a_wrong_row_is_named_with_file_line_and_field(tmp_path, make_task):
    lay(tmp_path / "sst2", train_jsonl=[*ROWS[:2], {"sentence": "x", "label": 7}], dev_jsonl=ROWS)
    with pytest.raises(DataError, match=r"train.jsonl:3: field 'label' must be one of 0, 1.*got 7"):
        load_splits(make_task("sst2"), source(tmp_path))


EXPECTED = {
    "sst2": (66_349, 1_000, 872, 0),
    "boolq": (2_172, 1_635, 1_635, 0),
    "squad": (3_144, 1_000, 10_570, 0),
    "rte": (2_490, 138, 139, 0),
    "qnli": (12_140, 1_000, 5_463, 0),
    "copa": (400, 50, 50, 0),
    "mnli": (16_189, 1_000, 8_815, 0),
    "mrpc": (3_668, 204, 204, 0),
    "cola": (8_535, 521, 522, 16),
    "qqp": (11_948, 1_000, 6_600, 0),
    "stsb": (5_743, 750, 750, 6),
    "e2e": (42_061, 4_672, 630, 0),
}


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data at {REAL_DATA}")
@pytest.mark.parametrize("name", EXPECTED)
def test_real_files(name, make_task):
    splits = load_splits(make_task(name), source(REAL_DATA))
    rows = tuple(splits[split].rows for split in ("train", "dev", "test"))
    assert (*rows, splits.duplicates_removed) == EXPECTED[name]


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data at {REAL_DATA}")
def test_real_record_needs_a_holdout(make_task):
    splits = load_splits(make_task("record"), source(REAL_DATA, holdout=0.2))
    assert [splits[name].rows for name in ("train", "dev", "test")] == [39, 12, 13]
    assert splits.notes[0].startswith("13 train rows stand in")


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data at {REAL_DATA}")
def test_real_squad_json_holds_the_same_rows_as_the_lines(tmp_path, make_task):
    task = make_task("squad")
    (tmp_path / "squad").mkdir()
    for name, origin in {
        "train.jsonl": REAL_DATA / "squad" / "train_subset.jsonl",
        "dev-v1.1.json": REAL_DATA / "squad_json" / "dev-v1.1.json",
    }.items():
        (tmp_path / "squad" / name).symlink_to(origin)
    nested = load_splits(task, source(tmp_path)).test
    lines = load_splits(task, source(REAL_DATA)).test
    assert nested.rows == 10_570
    assert nested.fingerprint == lines.fingerprint


def test_splits_with_names_of_their_own_are_found_among_others(tmp_path):
    names = ("train_gen", "train_prefs", "train_sft", "test_prefs", "test_sft")
    for name in names:
        (tmp_path / f"{name}-00000-of-00001.parquet").touch()
    for split, own in (("train", "train_sft"), ("validation", "test_sft")):
        (found,) = find_split(tmp_path, split, "ultrafeedback", own)
        assert found.name.startswith(own)
    with pytest.raises(DataError, match=r"must hold one train file, got train_gen"):
        find_split(tmp_path, "train", "ultrafeedback")
