import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from pedro_bench.data.formats import read_rows
from pedro_bench.errors import DataError


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_json_lines_keep_line_numbers_past_blank_lines(tmp_path):
    path = write(tmp_path, "train.jsonl", '\ufeff{"a": 1}\r\n\n{"a": "x\u2028y"}\n')
    assert read_rows(path) == [({"a": 1}, f"{path}:1"), ({"a": "x\u2028y"}, f"{path}:3")]


def test_tsv_without_quoting(tmp_path):
    path = write(tmp_path, "train.tsv", "sentence\tlabel\n\"so good\t1\nit 's\t0\n")
    assert [row for row, _ in read_rows(path)] == [
        {"sentence": '"so good', "label": "1"},
        {"sentence": "it 's", "label": "0"},
    ]


def test_json_list_and_object_with_data(tmp_path):
    rows = [{"a": 1}, {"a": 2}]
    listed = write(tmp_path, "train.json", json.dumps(rows, indent=1))
    wrapped = write(tmp_path, "dev.json", json.dumps({"version": "1", "data": rows}))
    assert [row for row, _ in read_rows(listed)] == [row for row, _ in read_rows(wrapped)] == rows
    assert read_rows(listed)[1].place == f"{listed} row 2"


def test_squad_nested_json(tmp_path):
    answers = [{"text": "Rome", "answer_start": 4}]
    question = {"id": "q7", "question": "Where?", "answers": answers}
    paragraph = {"context": "She is in Rome.", "qas": [question]}
    document = {"version": "1.1", "data": [{"title": "T", "paragraphs": [paragraph]}]}
    path = write(tmp_path, "dev-v1.1.json", json.dumps(document))
    ((row, place),) = read_rows(path)
    assert row == {
        "title": "T",
        "id": "q7",
        "question": "Where?",
        "answers": answers,
        "context": "She is in Rome.",
    }
    assert place == f"{path} article 1 question q7"


def test_record_nested_rows_become_one_row_a_query(tmp_path):
    spans = [{"start": 0, "end": 2}, {"start": 10, "end": 12}]
    queries = [
        {"query": "@placeholder left", "answers": [{"text": "Ana", "start": 0}], "idx": 1},
        {"query": "@placeholder came", "answers": [{"text": "Ben", "start": 10}], "idx": 2},
    ]
    nested = {"passage": {"text": "Ana meets Ben.", "entities": spans}, "qas": queries}
    path = write(tmp_path, "train.jsonl", json.dumps(nested))
    rows = [row for row, _ in read_rows(path)]
    assert rows[0]["entities"] == ["Ana", "Ben"]
    assert [(row["query"], row["answers"]) for row in rows] == [
        ("@placeholder left", ["Ana"]),
        ("@placeholder came", ["Ben"]),
    ]


def test_parquet(tmp_path):
    path = tmp_path / "train.parquet"
    parquet.write_table(pa.table({"a": [1, 2], "b": [["x"], []]}), path)
    assert read_rows(path) == [
        ({"a": 1, "b": ["x"]}, f"{path} row 1"),
        ({"a": 2, "b": []}, f"{path} row 2"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", "", "train.jsonl must hold at least one row, got none"),
        ("train.tsv", "sentence\tlabel\n", "train.tsv must hold at least one row, got none"),
        ("train.json", "[]", "train.json must hold at least one row, got none"),
        ("train.jsonl", '{"a": 1}\n{"a": \n', "train.jsonl:2 must be one JSON object.*column 7"),
        ("train.jsonl", "[1]", "train.jsonl:1 must be a JSON object .*got list"),
        (
            "train.jsonl",
            b'{"a": 1}\n{"a": "\xe9"}',
            "train.jsonl:2 must be UTF-8 text, got byte 0xe9",
        ),
        ("train.json", b'["\xe9"]', "train.json must be UTF-8 text, got byte 0xe9 at position 2"),
        (
            "train.tsv",
            "a\tb\n1\t2\n1\n",
            r"train.tsv:3 must have the header's 2 columns \(a, b\), got 1",
        ),
        ("train.json", '[\n{"a" 1}]', "train.json:2 must be part of one JSON document.*column 6"),
        ("train.json", '{"a": 1}', "train.json must hold a list of rows"),
        ("train.json", "[3]", "train.json row 1 must be a JSON object .*got int"),
        ("train.parquet", b"PAR1 broken", "train.parquet must be a whole Parquet file, got"),
        (
            "train.jsonl",
            '{"passage": {"text": "Ana", "entities": [{"start": 0, "end": 3}]}, "qas": []}',
            "train.jsonl:1: field 'passage.entities' must hold spans within the text.*'end': 3",
        ),
        (
            "train.json",
            '[{"paragraphs": [{"context": "x"}]}]',
            "train.json article 1: field 'qas' must be a list of objects, got None",
        ),
    ],
)
def test_broken_files_are_told_in_one_sentence(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_rows(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)
