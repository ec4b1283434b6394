"""Records of evaluations: read back as written, absent where a file is gone, refused where foreign."""

import errno
import fcntl
import json
import os
import re
import resource
import threading

import pytest

from pedro_bench.errors import RecordError, TrainingError
from pedro_bench.instruct.record import (
    EvaluationRecord,
    Journal,
    file_path,
    read_finished,
    record_path,
    write,
    write_rows,
)


def make(tmp_path):
    path = record_path(str(tmp_path), "mmlu", "pedro--alpaca--micro--0123456789ab--seed0", "ab12")
    rows = [{"index": 0, "response": "é"}]
    files = {"predictions": write_rows(path, file_path(path, "predictions"), rows)}
    record = EvaluationRecord(
        key="ab12",
        suite="mmlu",
        run={"stem": "pedro"},
        config={},
        data={},
        metrics={"accuracy": 50.0},
        parts={"anatomy": {"accuracy": 50.0, "rows": 2}},
        files=files,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:01+00:00",
    )
    write(record, path)
    return path, record


def test_a_record_is_read_back(tmp_path):
    path, record = make(tmp_path)
    assert read_finished(path).as_dict() == record.as_dict()
    assert path.relative_to(tmp_path).as_posix().startswith("instruct/mmlu/pedro--")
    place = path.parent / record.files["predictions"]["path"]
    assert json.loads(place.read_text()) == {"index": 0, "response": "é"}
    assert file_path(path, "answers", "cd34").name.endswith("--seed0--cd34.jsonl")


def test_what_is_absent_is_not_finished(tmp_path):
    path, record = make(tmp_path)
    (path.parent / record.files["predictions"]["path"]).unlink()
    assert read_finished(path) is None
    path.unlink()
    assert read_finished(path) is None


def test_a_file_that_was_changed_is_refused(tmp_path):
    path, record = make(tmp_path)
    place = path.parent / record.files["predictions"]["path"]
    place.write_text(place.read_text().replace("é", "e"))
    with pytest.raises(RecordError, match=re.escape(f"file {place} must be what the record")):
        read_finished(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 3}, "must have schema 2 or 1, got 3"),
        ({"extra": 1}, "must hold the schema's fields, got a difference in 'extra'"),
        (None, "must have schema 2 or 1, got None"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, change, message):
    path, record = make(tmp_path)
    content = {**record.as_dict(), **change} if change else []
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=re.escape(f"record {path} {message}")):
        read_finished(path)
    path.write_text("{")
    with pytest.raises(RecordError, match="must be readable JSON"):
        read_finished(path)


def test_entries_come_back_in_order(tmp_path):
    path = tmp_path / "folder" / "journal.jsonl"
    with Journal(path) as journal:
        assert journal.entries == []
        journal.append({"text": "é\n\ud800", "number": 1})
        journal.append({"number": 2})
    with Journal(path) as journal:
        assert [entry["number"] for entry in journal.entries] == [1, 2]
        journal.append({"number": 3})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("torn", [b'{"number"', b"{", b'{"number": 9}', b"\xff\xfe"])
def test_half_a_line_at_the_end_is_dropped(tmp_path, torn):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"number": 1}\n' + torn)
    with Journal(path) as journal:
        assert journal.entries == [{"number": 1}]
        journal.append({"number": 2})
    assert path.read_bytes() == b'{"number": 1}\n{"number": 2}\n'


@pytest.fixture
def small_disk():
    """Files grow to 100 bytes at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_leaves_whole_lines(tmp_path, small_disk):
    path = tmp_path / "journal.jsonl"

    def written():
        with Journal(path) as journal:
            journal.append({"number": 1})
            try:
                journal.append({"text": "x" * 200})
            finally:  # as another thread may
                journal.append({"number": 2})

    with pytest.raises(TrainingError, match=r"got File too large: free some space"):
        written()
    with Journal(path) as journal:
        assert journal.entries == [{"number": 1}, {"number": 2}]


@pytest.mark.parametrize("line", [b'{"num', b"[1]", b"\0\0\0"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"number": 1}\n' + line + b'\n{"number": 3}\n')
    with pytest.raises(
        RecordError, match=r"journal.jsonl:2 must be one JSON object.*remove the file"
    ):
        Journal(path)


def test_a_second_holder_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path), pytest.raises(RecordError, match=r"got one that another process holds"):
        Journal(path)
    with Journal(path) as journal:
        assert journal.entries == []


def test_threads_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        threads = [
            threading.Thread(target=lambda at=at: [journal.append({"at": at}) for _ in range(20)])
            for at in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Journal(path) as journal:
        assert sorted(entry["at"] for entry in journal.entries) == sorted([0, 1, 2, 3] * 20)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"must be writable, got .*output_dir="):
        Journal(tmp_path / "file" / "journal.jsonl")


def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(RecordError, match=r"can be locked and read, got No locks .*output_dir="):
        Journal(tmp_path / "journal.jsonl")
