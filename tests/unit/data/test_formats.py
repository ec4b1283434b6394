import csv
import json
import logging

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pedro_bench.data.fields import MAX_CHARACTERS
from pedro_bench.data.files import FilesSource, layout_of
from pedro_bench.data.formats import Layout, read_rows
from pedro_bench.data.splits import load_splits
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
        ("train.jsonl", f'{{"a": {"[" * 9**5}', "train.jsonl:1 must be JSON .* nested too deep"),
        ("train.json", "[" * 9**5, "train.json must be JSON that can be read.* nested too deep"),
        ("train.jsonl", f'{{"a": {"1" * 5000}}}', "train.jsonl:1 must be .* thousands of digits"),
        ("train.json", f"[{'1' * 5000}]", "train.json must be JSON .* thousands of digits"),
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


def write_table(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


COLA = Layout(
    {"sentence": ("sentence",), "label": ("label",)}, ("source", "label", "s", "sentence")
)


def test_a_table_without_header_line_keeps_its_first_row(tmp_path):
    path = write_table(tmp_path, "train.tsv", "gj04\t1\t\tIt rained.\ngj04\t0\t*\tIt rain.\n")
    assert [(row["sentence"], row["label"]) for row, _ in read_rows(path, COLA)] == [
        ("It rained.", "1"),
        ("It rain.", "0"),
    ]
    assert [located.place for located in read_rows(path, COLA)] == [f"{path}:1", f"{path}:2"]


def test_the_same_task_reads_a_table_with_header_line(tmp_path):
    path = write_table(tmp_path, "train.tsv", "sentence\tlabel\nIt rained.\t1\n")
    assert [row for row, _ in read_rows(path, COLA)] == [{"sentence": "It rained.", "label": "1"}]


def test_a_missing_column_is_named_with_file_and_line(tmp_path):
    path = write_table(tmp_path, "train.tsv", "sentance\tlabel\nIt rained.\t1\n")
    message = r"train.tsv:1 must have a column 'sentence' in its header.*Did you mean 'sentance'"
    with pytest.raises(DataError, match=message):
        read_rows(path, COLA)


def test_csv_with_commas_quotes_and_line_feeds_in_cells(tmp_path):
    text = '\ufeffmr,ref\r\n"name[A], food[B]","""Good"", he said,\nand left."\r\n"m","r"\r\n'
    path = write_table(tmp_path, "trainset.csv", text)
    assert read_rows(path) == [
        ({"mr": "name[A], food[B]", "ref": '"Good", he said,\nand left.'}, f"{path}:2"),
        ({"mr": "m", "ref": "r"}, f"{path}:4"),
    ]


def test_only_columns_that_a_task_reads_must_stand_once(tmp_path):
    path = write_table(tmp_path, "train.csv", "a,x,x\n1,2,3\n")
    assert read_rows(path, Layout({"a": ("a",)}))[0].row["a"] == "1"
    with pytest.raises(DataError, match="got several named 'x'"):
        read_rows(path, Layout({"a": ("a",), "b": ("b", "x")}))


def test_a_long_cell_of_csv_is_read(tmp_path):
    """The reader of Python refuses more than 131,072 characters, and others rely on its limit."""
    before = csv.field_size_limit()
    text = "x" * MAX_CHARACTERS
    path = write_table(tmp_path, "train.csv", f'a,b\n"{text}",1\n')
    assert read_rows(path)[0].row["a"] == text
    assert csv.field_size_limit() == before


def test_pairs_of_meaning_and_text(tmp_path):
    path = write_table(
        tmp_path, "train.txt", "name : A | food : B||A serves B .\n\nname : C||C .\n"
    )
    assert read_rows(path) == [
        ({"mr": "name : A | food : B", "ref": "A serves B ."}, f"{path}:1"),
        ({"mr": "name : C", "ref": "C ."}, f"{path}:3"),
    ]


def test_broken_rows_are_left_out_up_to_the_official_number(tmp_path, caplog):
    path = write_table(tmp_path, "train.tsv", "a\tb\n1\t2\nlost\n3\t4\n")
    with caplog.at_level(logging.WARNING):
        rows = read_rows(path, Layout(broken_rows=1))
    assert [row["a"] for row, _ in rows] == ["1", "3"]
    assert "left out broken rows at lines [3]" in caplog.text
    with pytest.raises(DataError, match=r"train.tsv:3 must have the header's 2 columns \(a, b\)"):
        read_rows(path)
    more = write_table(tmp_path, "more.tsv", "a\tb\nx\ny\n3\t4\n")
    with pytest.raises(DataError, match=r"more.tsv:3 must .* got 1, after the 1 such rows of the"):
        read_rows(more, Layout(broken_rows=1))


def test_too_many_cells_are_never_left_out(tmp_path):
    path = write_table(tmp_path, "train.tsv", "a\tb\n1\t2\t3\n")
    with pytest.raises(DataError, match=r"got 3, after .*: some follow the last one"):
        read_rows(path, Layout(broken_rows=9))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", 'a,b\n"x"y,1\n', r"train.csv:2 must be a row of CSV, got cells that break"),
        ("train.csv", 'a,b\n"x,1\n2,3\n', r"train.csv:2 must be a row of CSV.*break at line 3"),
        ("train.csv", b"a,b\n1,\xe9\n", r"train.csv:2 must be UTF-8 text, got byte 0xe9"),
        ("train.csv", "", r"train.csv must hold at least one row"),
        ("train.csv", "a,b,a\n1,2,3\n", "train.csv:1 must name each column once, .* named 'a'"),
        ("train.tsv", "b\tb\n1\t2\n", "train.tsv:1 must name each column once, .* named 'b'"),
        (
            "train.csv",
            "a,b\r1,2\r",
            "train.csv must have lines that end in a line feed, got carriage",
        ),
        ("train.tsv", "a\tb\r1\t2\r", "train.tsv must have lines that end in a line feed"),
        (
            "train.csv",
            f"a,b\n{'x' * 200_001},1\n",
            "train.csv:2 must have cells of at most 200,000",
        ),
        (
            "train.csv",
            "a,b\n1\n",
            r"train.csv:2 .* 2 columns \(a, b\), got 1.*nothing stands in field 'b'",
        ),
        ("train.txt", "a||b\nab\n", r"train.txt:2 must have fields 'mr' and 'ref'.*got 0 in 'ab'"),
        ("train.txt", "a||b||c\n", r"train.txt:1 must have fields 'mr' and 'ref'.*got 2 in"),
    ],
)
def test_broken_tables_are_told_in_one_sentence(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_rows(write_table(tmp_path, name, content))
    assert "\n" not in str(caught.value)


LONG = "x" * 2**20


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "train.tsv",
            f"{LONG}\t1",
            r"train.tsv:3: field 'sentence' must have at most 200,000 char",
        ),
        ("train.tsv", f"good\t{LONG}", r"train.tsv:3: field 'label' must be one of .*, got 'xxx"),
        ("train.tsv", LONG, r"train.tsv:3 must have the header's 2 columns"),
        ("train.tsv", "good\tmaybe", r"train.tsv:3: field 'label' must be one of .*got 'maybe'"),
        ("train.tsv", "\t1", r"train.tsv:3: field 'sentence' must not be empty"),
    ],
)
def test_a_bad_line_gives_file_line_and_field_in_one_short_sentence(
    tmp_path, make_task, name, line, message
):
    good = "sentence\tlabel\nfine film\t1\n"
    write_table(tmp_path / "sst2", name, f"{good}{line}\n")
    write_table(tmp_path / "sst2", "dev.tsv", good)
    with pytest.raises(DataError, match=message) as caught:
        load_splits(make_task("sst2"), FilesSource(name="files", root=str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_long_field_in_json_lines(tmp_path, make_task):
    assert len(LONG) > MAX_CHARACTERS
    write_table(tmp_path / "sst2", "train.jsonl", f'{{"sentence": "{LONG}", "label": 1}}\n')
    write_table(tmp_path / "sst2", "dev.jsonl", '{"sentence": "fine", "label": 1}\n')
    with pytest.raises(DataError, match=r"train.jsonl:1: field 'sentence' must have at most"):
        load_splits(make_task("sst2"), FilesSource(name="files", root=str(tmp_path)))


GLUE = {
    "rte": ("index\tsentence1\tsentence2\tlabel", '0\tIt "rained.\tIt was wet.\tentailment', "yes"),
    "qnli": ("index\tquestion\tsentence\tlabel", "0\tWho?\tAna came.\tnot_entailment", "no"),
    "sst2": ("sentence\tlabel", "so good\t1", "positive"),
}


@pytest.mark.parametrize("name", GLUE)
def test_official_glue_tables(tmp_path, make_task, name):
    header, row, answer = GLUE[name]
    path = write_table(tmp_path, "train.tsv", f"{header}\n{row}\n")
    task = make_task(name)
    ((found, _),) = read_rows(path, layout_of(task))
    assert task.example(found).answer == answer
