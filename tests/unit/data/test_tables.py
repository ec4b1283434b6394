"""Text tables as official releases lay them out: headers, none, quotes, broken rows."""

import logging

import pytest

from pedro_bench.data.fields import MAX_CHARACTERS
from pedro_bench.data.files import FilesSource, layout_of
from pedro_bench.data.formats import read_rows
from pedro_bench.data.splits import load_splits
from pedro_bench.data.tables import Layout
from pedro_bench.errors import DataError


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


COLA = Layout(
    {"sentence": ("sentence",), "label": ("label",)}, ("source", "label", "s", "sentence")
)


def test_a_table_without_header_line_keeps_its_first_row(tmp_path):
    path = write(tmp_path, "train.tsv", "gj04\t1\t\tIt rained.\ngj04\t0\t*\tIt rain.\n")
    assert [(row["sentence"], row["label"]) for row, _ in read_rows(path, COLA)] == [
        ("It rained.", "1"),
        ("It rain.", "0"),
    ]
    assert [located.place for located in read_rows(path, COLA)] == [f"{path}:1", f"{path}:2"]


def test_the_same_task_reads_a_table_with_header_line(tmp_path):
    path = write(tmp_path, "train.tsv", "sentence\tlabel\nIt rained.\t1\n")
    assert [row for row, _ in read_rows(path, COLA)] == [{"sentence": "It rained.", "label": "1"}]


def test_a_missing_column_is_named_with_file_and_line(tmp_path):
    path = write(tmp_path, "train.tsv", "sentance\tlabel\nIt rained.\t1\n")
    message = r"train.tsv:1 must have a column 'sentence' in its header.*Did you mean 'sentance'"
    with pytest.raises(DataError, match=message):
        read_rows(path, COLA)


def test_csv_with_commas_quotes_and_line_feeds_in_cells(tmp_path):
    text = '\ufeffmr,ref\r\n"name[A], food[B]","""Good"", he said,\nand left."\r\n"m","r"\r\n'
    path = write(tmp_path, "trainset.csv", text)
    assert read_rows(path) == [
        ({"mr": "name[A], food[B]", "ref": '"Good", he said,\nand left.'}, f"{path}:2"),
        ({"mr": "m", "ref": "r"}, f"{path}:4"),
    ]


def test_pairs_of_meaning_and_text(tmp_path):
    path = write(tmp_path, "train.txt", "name : A | food : B||A serves B .\n\nname : C||C .\n")
    assert read_rows(path) == [
        ({"mr": "name : A | food : B", "ref": "A serves B ."}, f"{path}:1"),
        ({"mr": "name : C", "ref": "C ."}, f"{path}:3"),
    ]


def test_broken_rows_are_left_out_up_to_the_official_number(tmp_path, caplog):
    path = write(tmp_path, "train.tsv", "a\tb\n1\t2\nlost\n3\t4\n")
    with caplog.at_level(logging.WARNING):
        rows = read_rows(path, Layout(broken_rows=1))
    assert [row["a"] for row, _ in rows] == ["1", "3"]
    assert "left out broken rows at lines [3]" in caplog.text
    with pytest.raises(DataError, match=r"train.tsv:3 must have the header's 2 columns \(a, b\)"):
        read_rows(path)
    more = write(tmp_path, "more.tsv", "a\tb\nx\ny\n3\t4\n")
    with pytest.raises(DataError, match=r"more.tsv:3 must .* got 1, after the 1 such rows of the"):
        read_rows(more, Layout(broken_rows=1))


def test_too_many_cells_are_never_left_out(tmp_path):
    path = write(tmp_path, "train.tsv", "a\tb\n1\t2\t3\n")
    with pytest.raises(DataError, match=r"got 3, after .*: some follow the last one"):
        read_rows(path, Layout(broken_rows=9))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", 'a,b\n"x"y,1\n', r"train.csv:2 must be a row of CSV, got cells that break"),
        ("train.csv", 'a,b\n"x,1\n2,3\n', r"train.csv:2 must be a row of CSV.*break at line 3"),
        ("train.csv", b"a,b\n1,\xe9\n", r"train.csv:2 must be UTF-8 text, got byte 0xe9"),
        ("train.csv", "", r"train.csv must hold at least one row"),
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
        read_rows(write(tmp_path, name, content))
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
    write(tmp_path / "sst2", name, f"{good}{line}\n")
    write(tmp_path / "sst2", "dev.tsv", good)
    with pytest.raises(DataError, match=message) as caught:
        load_splits(make_task("sst2"), FilesSource(name="files", root=str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_long_field_in_json_lines(tmp_path, make_task):
    assert len(LONG) > MAX_CHARACTERS
    write(tmp_path / "sst2", "train.jsonl", f'{{"sentence": "{LONG}", "label": 1}}\n')
    write(tmp_path / "sst2", "dev.jsonl", '{"sentence": "fine", "label": 1}\n')
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
    path = write(tmp_path, "train.tsv", f"{header}\n{row}\n")
    task = make_task(name)
    ((found, _),) = read_rows(path, layout_of(task))
    assert task.example(found).answer == answer
