"""Journal: whole lines survive, half a line does not, and one process holds it."""

import errno
import fcntl
import json
import os
import threading

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.instruct.journal import Journal


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


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"number": 1}\n{"num\n{"number": 3}\n')
    with pytest.raises(RecordError, match=r"journal.jsonl:2 must be one JSON object.*rerun=true"):
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
