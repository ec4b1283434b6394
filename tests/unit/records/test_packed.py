"""A packed suite reads as its files did, byte for byte."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pedro_bench import records
from pedro_bench.errors import RecordError
from pedro_bench.records import packed
from pedro_bench.records.packing import pack, unpack
from tests.unit.records.test_records import record

ROWS = [
    {"index": 0, "prediction": "yes", "text": "yes, \u00e9\u2028", "score": 100.0},
    {"index": 1, "prediction": "", "text": "", "likelihood": "no", "score": 0.1 + 0.2},
    {"index": 2, "prediction": "no", "text": 'no "it"\n', "score": 0.0},
]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def named(content: bytes) -> dict[str, str]:
    return {"path": "predictions/any.jsonl", "sha256": packed.digest(content)}


@pytest.fixture
def suite(tmp_path: Path) -> dict[Path, tuple[bytes, bytes]]:
    """Three runs of a suite: path -> record and predictions."""
    found = {}
    for seed in range(3):
        content = lines(ROWS[seed:])
        path = records.write(
            record(seed=seed, predictions=named(content.encode())),
            tmp_path,
        )
        predictions = records.predictions_path(path)
        predictions.parent.mkdir(exist_ok=True)
        predictions.write_text(content)
        found[path] = (path.read_bytes(), predictions.read_bytes())
    return found


def test_every_reader_takes_a_pack(suite, tmp_path):
    whole = {path: records.read(path) for path in suite}
    done = pack(tmp_path, "main")
    assert (done.records, done.predictions) == (3, 9 - 3)
    left = {path.name for path in (tmp_path / "runs/main").iterdir()}
    assert left == {packed.RECORDS, packed.PREDICTIONS}
    assert records.find(tmp_path) == records.find(tmp_path, "main") == sorted(suite)
    for path, (content, predictions) in suite.items():
        assert not path.exists()
        assert records.exists(path)
        assert records.has_predictions(path)
        assert records.read_bytes(path) == content
        assert records.read(path) == whole[path]
        assert records.read_predictions(path) == predictions
    absent = next(iter(suite)).with_name("pedro--boolq--micro--0123456789ab--seed9.json")
    assert not records.exists(absent)
    with pytest.raises(RecordError, match="seed9.json must be readable, got No such file"):
        records.read(absent)


def test_a_file_wins_over_the_pack_and_is_packed_next(suite, tmp_path):
    pack(tmp_path, "main")
    path = next(iter(suite))
    again = records.write(records.read(path).changed(notes=["again"]), tmp_path)
    assert again == path
    assert records.read(path).notes == ["again"]
    assert len(records.find(tmp_path, "main")) == 3
    pack(tmp_path, "main")
    assert not path.exists()
    assert records.read(path).notes == ["again"]
    assert records.read_predictions(path) == suite[path][1]


def test_unpacking_gives_the_files_back(suite, tmp_path):
    pack(tmp_path, "main")
    unpack(tmp_path, "main")
    for path, (content, predictions) in suite.items():
        assert path.read_bytes() == content
        assert records.predictions_path(path).read_bytes() == predictions
    assert not (tmp_path / "runs/main" / packed.RECORDS).exists()


def test_what_cannot_be_packed_without_loss_is_refused_and_stays(suite, tmp_path):
    path = next(iter(suite))
    predictions = records.predictions_path(path)
    predictions.write_text('{"index":0}\n')
    with pytest.raises(
        RecordError, match="predictions of pedro.*seed0 must be what the record says"
    ):
        pack(tmp_path, "main")
    records.write(
        record(seed=0, predictions=named(predictions.read_bytes())),
        tmp_path,
    )
    with pytest.raises(RecordError, match="must be lines as a run writes them"):
        pack(tmp_path, "main")
    assert all(one.is_file() for one in suite)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "running"}, "must hold no run that is under way, got pedro.*seed0"),
        ({"predictions": {"path": "x", "sha256": "0"}}, "must be what the record says"),
    ],
)
def test_unfinished_suites_are_refused(suite, tmp_path, changes, message):
    records.write(record(seed=0, **changes), tmp_path)
    with pytest.raises(RecordError, match=message):
        pack(tmp_path, "main")
    assert all(one.is_file() for one in suite)


def test_an_empty_suite_is_refused_by_name(tmp_path):
    with pytest.raises(RecordError, match="suite must be one with records, got 'none'"):
        pack(tmp_path, "none")


@pytest.mark.parametrize(
    "line",
    [
        '{"index": 0, "prediction": 7}',
        '{"index": 0, "prediction": "yes", "score": 100}',
        '{"index": 0.5, "prediction": "yes"}',
        "[0]",
        "no JSON",
    ],
)
def test_predictions_of_other_types_are_refused_before_a_pack_is_written(line, suite, tmp_path):
    path = next(iter(suite))
    predictions = records.predictions_path(path)
    predictions.write_text(line + "\n")
    records.write(record(seed=0, predictions=named(predictions.read_bytes())), tmp_path)
    with pytest.raises(RecordError, match="must be lines as a run writes them"):
        pack(tmp_path, "main")
    assert all(one.is_file() for one in suite)
    assert not (tmp_path / "runs/main" / packed.RECORDS).exists()


@pytest.mark.parametrize("name", [packed.RECORDS, packed.PREDICTIONS])
def test_another_parquet_file_in_place_of_a_pack_is_one_sentence(name, suite, tmp_path):
    pack(tmp_path, "main")
    pq.write_table(pa.table({"index": [1]}), tmp_path / "runs/main" / name)
    message = f"{name} must be a pack of records, got no column 'stem'"
    with pytest.raises(RecordError, match=message):
        _ = [records.read_predictions(path) for path in records.find(tmp_path, "main")]


def test_a_damaged_pack_is_one_sentence(suite, tmp_path):
    pack(tmp_path, "main")
    (tmp_path / "runs/main" / packed.RECORDS).write_bytes(b"PAR1 and no more")
    with pytest.raises(
        RecordError, match="packed.parquet must be a pack of records, got .*restore it"
    ):
        records.find(tmp_path, "main")
