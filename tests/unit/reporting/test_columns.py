"""Sections of one report whose columns differ: every number stands under its own heading."""

from pedro_bench.reporting.blocks import blocks
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.columns import place_of, shared_columns
from pedro_bench.reporting.load import load
from pedro_bench.reporting.report import Column
from tests.unit.reporting.runs import five

TABLE = {"suite": "table5", "data": "hub"}


def test_rows_stand_under_the_headings_of_all_sections(tmp_path):
    five(tmp_path, "pedro", "boolq", 91.0, backbone="llama2_13b", **TABLE)
    five(tmp_path, "pedro", "rte", 71.0, backbone="llama2_13b", **TABLE)
    for task, score in (("boolq", 81.0), ("copa", 61.0), ("squad", 51.0)):
        five(tmp_path, "pedro", task, score, backbone="gemma_2b", **TABLE)
    five(tmp_path, "lora", "copa", 60.0, backbone="gemma_2b", **TABLE)
    (report,) = reports(load(tmp_path))
    scores, spreads, differences, published, *_ = blocks(report)
    headings = ("BoolQ (acc)", "SQuAD (acc)", "rte (acc)", "copa (acc)")
    assert scores.header == ("Method", "Params", *headings)
    for block in (spreads, differences, published):
        assert block.header == ("Method", *headings)
    large, small = (
        [cell.plain for cell in row.cells] for row in scores.rows if row.cells[0].plain == "PEDRO"
    )
    assert large == ["PEDRO", "--", "91.00", "--", "71.00", "--"]
    assert small == ["PEDRO", "--", "81.00", "51.00", "--", "61.00"]
    for block in (scores, spreads, differences, published):
        assert {len(row.cells) for row in block.rows} == {1, len(block.header)}


def test_a_metric_that_is_not_known_is_any_of_its_task():
    known, unknown = Column("squad", "SQuAD", "f1"), Column("squad", "SQuAD", None)
    other = Column("squad", "SQuAD", "em")
    assert place_of(unknown, [other, known]) == 0
    assert place_of(known, [other, known]) == 1
    assert place_of(known, [other]) is None
    assert shared_columns([]) == ()
