"""The published numbers of parameters: read whole, with the digits that the papers print."""

import pytest

from pedro_bench.analysis.published import Published, in_published_order, published_parameters
from pedro_bench.errors import DataError


def number(params):
    return Published("lora", "llama2_7b", "PEDRO", "1", params)


def test_the_file_has_the_papers_tables():
    rows = published_parameters()
    assert [one.method for one in rows if one.source == "PEDRO, Table 1"] == (
        "full_ft ptuning_v2 lpt houlsby_adapter learned_adapter lora adalora ssp bitfit ia3 pedro"
    ).split()
    assert len({(one.method, one.backbone, one.source) for one in rows}) == len(rows)
    assert {one.method: one.params for one in rows}["red"] == "0.26M"


@pytest.mark.parametrize(
    ("params", "agreeing", "differing"),
    [
        ("8.9M", [8_945_664, 8_899_999, 8_800_000], [9_010_000, 8_790_000]),
        ("6739M", [6_738_415_616], [6_737_000_000]),
        ("0.26M", [262_144], [280_000]),
        ("7B", [6_738_415_616], [8_100_000_000]),
        ("9.4M", [9_437_184], [16_777_216]),
        ("25K", [25_400], [26_400]),
    ],
)
def test_rounded_up_or_down_to_the_printed_digits(params, agreeing, differing):
    assert all(number(params).agrees(entries) for entries in agreeing)
    assert not any(number(params).agrees(entries) for entries in differing)


def test_the_number():
    assert number("8.39M").entries == 8_390_000
    assert number("7B").entries == 7_000_000_000


@pytest.mark.parametrize("params", ["", "9.4", "M", "many", "9.4.1M", "-1M"])
def test_what_is_no_number_is_refused(params):
    with pytest.raises(DataError, match=r"params of lora in .* must be a number with K, M or B"):
        assert number(params).entries


@pytest.mark.parametrize("row", ["lora,llama2_7b,X,1", "lora,llama2_7b,X,1,1M,,,more"])
def test_a_row_with_other_columns_is_refused(tmp_path, row):
    file = tmp_path / "numbers.csv"
    file.write_text(f"method,backbone,paper,table,params,setting,note\n{row}\n")
    with pytest.raises(DataError, match=r"numbers\.csv:2 must have the columns method, .* got"):
        published_parameters(file)


def test_the_order_of_the_tables_then_by_name():
    names = ("zebra", "pedro", "aardvark", "pedro_2", "lora", "red")
    assert in_published_order(names) == ["lora", "pedro", "pedro_2", "red", "aardvark", "zebra"]
