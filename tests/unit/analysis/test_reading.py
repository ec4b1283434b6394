import json
from pathlib import Path

import msgspec
import pytest

from pedro_bench import records
from pedro_bench.analysis.reading import read_runs
from pedro_bench.analysis.run import Run
from pedro_bench.errors import RecordError
from pedro_bench.records import RunRecord
from pedro_bench.records.packing import pack
from tests.unit.analysis.runs import run


def test_its_fields_are_the_schemas():
    read = {one.encode_name for one in msgspec.structs.fields(Run)}
    assert {name for name in read if not name.startswith("-")} == set(RunRecord.__struct_fields__)


def test_what_it_reads_is_what_the_full_reader_reads(tmp_path):
    path = run(
        tmp_path,
        parameters={"matrices": 5, "trainable": 6, "total": 7},
        splits={"test": {"rows": 3, "fingerprint": "ab"}},
        environment={"device": "cpu", "dirty": True, "versions": {}},
        memory={"peak_bytes": 9, "of": "process"},
        timing={"train_seconds": 1.5},
    )
    (found,) = read_runs([path])
    whole = records.read(path)
    assert (found.key, found.seed, found.config) == (whole.key, 0, whole.config)
    assert (found.score, found.parameters) == (80.0, whole.parameters)
    assert (found.fingerprint("test"), found.fingerprint("train")) == ("ab", None)
    assert (found.environment.device, found.environment.dirty) == ("cpu", True)
    assert (found.memory.peak_bytes, found.timing.train_seconds) == (9, 1.5)
    assert (found.status, found.error, found.predictions) == ("finished", None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "0"}, r"must hold the schema's types, got another: Expected `int`, got `str`"),
        ({"speling": 1}, r"must hold the schema's fields only, got 'speling'"),
        ({"schema": 3}, r"must have schema 2 or 1, got 3"),
        ({"status": "done"}, r"must have a known status, got 'done'"),
        ({"metrics": {}}, r"must have its main metric 'acc' in metrics.test, got none"),
        ({"status": "failed"}, r"must have a sentence in the field 'error'"),
        ({"seed": 1}, r"must lie in a file named"),
        ({"suite": "other"}, r"must lie in the folder of its suite, 'other', got 'main'"),
        ({"metrics": {"test": None}}, r"must hold the schema's types, got .*`null`"),
        ({"metrics": {"test": {"acc": "high"}}}, r"must hold the schema's types, got .*float"),
    ],
)
def test_a_damaged_record_is_told_in_the_full_readers_words(tmp_path, change, message):
    path = run(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match=f"{path}:? (a record )?{message}"):
        read_runs([path])


def test_a_path_without_a_folder(tmp_path, monkeypatch):
    path = run(tmp_path)
    monkeypatch.chdir(path.parent)
    assert read_runs([Path(path.name)])[0].suite == "main"


def test_a_packed_record_and_an_older_one_are_read_alike(tmp_path):
    path = run(tmp_path, splits={"test": {"rows": 3, "fingerprint": "ab", "shortened": 2}})
    (found,) = read_runs([path])
    assert found.splits["test"].shortened == 2
    pack(tmp_path, "main")
    assert read_runs([path]) == [found]
    older = json.loads(records.read_bytes(path)) | {
        "schema": 1,
        "splits": {"test": {"rows": 3, "fingerprint": "ab"}},
    }
    for name in ("versions", "weights", "max_tokens", "phases", "shares"):
        del older[name]
    older["notes"] = [
        "The backbone's weights are sha256:0123456789abcdef0123.",
        "2 of 3 test prompts were shortened to fit into 9 tokens.",
    ]
    path.write_text(json.dumps(older))
    (again,) = read_runs([path])
    assert [again] == [
        msgspec.structs.replace(
            found, weights="sha256:0123456789abcdef0123", max_tokens=9, notes=again.notes
        )
    ]


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(RecordError, match="must be readable, got No such file"):
        read_runs([tmp_path / "absent.json"])
