"""Records of evaluations: read back as written, absent where a file is gone, refused where foreign."""

import json
import re

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.instruct.record import (
    EvaluationRecord,
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
