"""Lists as `pandas`, `datasets` and NumPy write them into tables."""

import numpy as np
import pandas as pd
import pytest

from pedro_bench.data.fields import texts_of
from pedro_bench.data.printed import read_printed
from pedro_bench.errors import DataError

TEXTS = [
    ["a", "b"],
    ["it's", 'the "big" one', "both ' and \"", "tab\tand\nline"],
    [f"answer number {number}" for number in range(30)],
    ["one"],
    ["[x]", "a, b", "...", "array(['z'])", "\\", "é 😀"],
]


@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda texts: str(tuple(texts)),
        lambda texts: str(np.array(texts)),
        lambda texts: str(np.array(texts, dtype=object)),
        lambda texts: repr(np.array(texts, dtype=object)),
        lambda texts: str(list(np.array(texts))),
        lambda texts: str({"text": np.array(texts, dtype=object), "answer_start": np.arange(2)}),
        lambda texts: str({"text": texts, "answer_start": [0.0, float("nan"), -1]}),
        lambda texts: str(np.array([{"text": one, "answer_start": 3} for one in texts])),
        lambda texts: pd.Series([np.array(texts, dtype=object)]).to_json(orient="records")[1:-1],
    ],
)
def test_every_way_of_writing_gives_the_texts_back(write, texts):
    assert texts_of({"answers": write(texts)}, "answers", {}) == tuple(texts)


def test_a_csv_of_pandas_gives_the_texts_back(tmp_path):
    from pedro_bench.data.formats import read_rows

    path = tmp_path / "train.csv"
    column = [{"text": np.array(texts, dtype=object)} for texts in TEXTS]
    pd.DataFrame({"answers": column, "entities": [np.array(one) for one in TEXTS]}).to_csv(path)
    rows = read_rows(path)
    for field in ("answers", "entities"):
        assert [texts_of(row, field, {}) for row, _ in rows] == [tuple(one) for one in TEXTS]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (str(np.array([str(number) for number in range(2000)])), "values are left out at '...'"),
        (repr(np.array(["x"] * 2000, dtype=object)), "values are left out at '...'"),
        ("{'text': ['a' ... 'b']}", "values are left out at '...'"),
        ("['a', 'b' 'c']", "some items have a comma between them and some have none"),
        ("['a' 'b', 'c']", "some items have a comma between them and some have none"),
        ("['a''b']", ""),
        ("('a' 'b')", ""),
        ("'a' 'b'", ""),
        ("{'a', 'b'}", ""),
        ("['a' nan]", ""),
        ("['a', None]", ""),
        ("['a' 1]", ""),
        ("[1 2]", ""),
        ("nan", ""),
        ("a, b", ""),
        ("['a', 'b'", ""),
        ("['a' 'b'] 'c'", ""),
        ("array(['a'], dtype=object", ""),
        ("[b'a' b'b']", ""),
        ("[list(['a']) list(['b'])]", ""),
        ("open('x')", ""),
        ("{1: ['a']}", ""),
        ('"[""a"", ""b""]"', ""),
        ("['a\nb']", ""),
        (str(pd.Series(["a", "b"])), ""),
        ("[" * 5000, ""),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(written, reason):
    with pytest.raises(DataError, match=r"field 'answers' must be a list of texts, got ") as told:
        texts_of({"answers": written}, "answers", {})
    assert reason in str(told.value)
    assert str(told.value).endswith("or the file as JSON Lines or Parquet.")


@pytest.mark.parametrize("written", ["[]", "array([], dtype=object)", "{'text': array([])}", "()"])
def test_empty_lists_are_empty(written):
    with pytest.raises(DataError, match=r"field 'answers' must hold at least one text, got"):
        texts_of({"answers": written}, "answers", {})


def test_other_values_are_read_beside_the_texts():
    written = "{'a': [ 1  2], 'b': array([1.5, nan], dtype=float32), 'c': None, 'd': np.str_('x')}"
    assert read_printed(written)["a"] == [1.0, 2.0]
    assert read_printed(written)["d"] == "x"
