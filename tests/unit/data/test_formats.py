import json

import numpy as np
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


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"a": "x \\ud83d"}', "a"),
        ('{"a": "x", "b": {"c": [1, "\\uDE00"]}}', r"b\.c\[1\]"),
        ('{"a": ["x", {"text": "\\ude00\\ud83d"}]}', r"a\[1\]\.text"),
        ('{"id": "\\udfff", "a": "x"}', "id"),
    ],
)
@pytest.mark.parametrize(
    ("name", "form", "place"),
    [
        ("train.jsonl", '{{"a": "y"}}\n{}\n', "train.jsonl:2"),
        ("train.json", '[{{"a": "y"}}, {}]', "train.json row 2"),
    ],
)
def test_lone_surrogates_are_refused_in_every_field(tmp_path, name, form, place, row, field):
    path = write(tmp_path, name, form.format(row))
    message = rf"{place}: field '{field}' must be text that UTF-8 can encode, got the lone surr"
    with pytest.raises(DataError, match=message) as told:
        read_rows(path)
    str(told.value).encode()


def test_a_fields_name_may_not_hold_a_lone_surrogate(tmp_path):
    path = write(tmp_path, "train.jsonl", '{"a\\ud83d": 1}')
    with pytest.raises(DataError, match=r"train.jsonl:1: the name of field 'a\\ud83d' must be"):
        read_rows(path)


def test_whole_surrogate_pairs_are_read(tmp_path):
    path = write(tmp_path, "train.jsonl", '{"a": "\\ud83d\\ude00", "b": "\\\\ud83d"}')
    assert read_rows(path)[0].row == {"a": "\U0001f600", "b": "\\ud83d"}


@pytest.mark.parametrize("name", ["train.tsv", "train.csv", "train.txt", "train.jsonl"])
def test_surrogates_as_bytes_are_no_utf_8(tmp_path, name):
    path = write(tmp_path, name, b"{} || \xed\xa0\xbd\n")
    with pytest.raises(DataError, match=rf"{name}:1 must be UTF-8 text, got byte 0xed"):
        read_rows(path)


def test_a_parquet_file_with_bytes_that_are_no_text(tmp_path):
    offsets = pa.py_buffer(np.array([0, 1, 4], dtype=np.int32).tobytes())
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xed\xa0\xbd")])
    path = tmp_path / "train.parquet"
    parquet.write_table(pa.table({"a": column}), path)
    with pytest.raises(DataError, match=r"train.parquet must be UTF-8 text, got byte 0xed"):
        read_rows(path)


def squad(version, **question):
    asked = {"id": "q7", "question": "Where?", "answers": [{"text": "Rome"}], **question}
    paragraphs = [{"context": "She is in Rome.", "qas": [asked]}]
    return json.dumps({"version": version, "data": [{"title": "T", "paragraphs": paragraphs}]})


@pytest.mark.parametrize("version", ["v2.0", "2.0", 2.0, 2])
def test_squad_2_is_refused_by_its_version(tmp_path, version):
    path = write(tmp_path, "train.json", squad(version))
    with pytest.raises(DataError, match=r"train.json must be SQuAD 1.1, got version .*SQuAD 2.0"):
        read_rows(path)


def test_other_versions_are_read_and_the_flag_is_kept(tmp_path):
    path = write(tmp_path, "train.json", squad("1.1", is_impossible=False))
    assert read_rows(path)[0].row["is_impossible"] is False
    flat = write(tmp_path, "dev.json", json.dumps({"version": "2.0", "data": [{"a": 1}]}))
    assert read_rows(flat)[0].row == {"a": 1}
