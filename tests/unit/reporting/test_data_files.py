"""Published numbers, layouts and claims: they name each other rightly."""

import pytest

from pedro_bench.errors import DataError
from pedro_bench.reporting.claims import claims
from pedro_bench.reporting.layouts import label_of, layout_of, layouts
from pedro_bench.reporting.published_scores import published_of, published_scores


def test_every_published_number_is_there_with_its_source():
    scores = published_scores()
    assert len(scores) == 547
    assert len({(one.paper, one.table) for one in scores if one.paper == "PEDRO"}) == 5
    assert {one.table for one in scores if one.paper == "RED"} == {*"1234567", "16", "18"}
    one = published_of("PEDRO", "1")["llama2_7b", "pedro", "boolq", "acc"]
    assert (one.value, one.printed, one.source) == (88.1, "88.1", "PEDRO, Table 1")
    rte = published_of("RED", "1")["roberta_base", "red", "rte", "acc"]
    assert (rte.value, rte.deviation) == (78.0, 2.06)


@pytest.mark.parametrize("name", [name for name in layouts() if name != "figure3"])
def test_a_layouts_methods_and_columns_are_those_of_the_published_table(name):
    layout = layouts()[name]
    published = published_of(layout.paper, layout.table)
    columns = layout.published or layout.columns
    for backbone in layout.backbones:
        own = {key for key in published if key[0] == backbone}
        assert {key[1] for key in own} <= {m for group in layout.methods for m in group}
        for task, metric in columns:
            assert any(key[2] == task and metric in (None, key[3]) for key in own)
    assert {key[0] for key in published} == set(layout.backbones)
    in_layout = {m for group in layout.methods for m in group}
    assert {key[1] for key in published} == in_layout


def test_micro_suites_have_the_layout_of_their_table():
    assert layout_of("micro_table1") is layout_of("table1") is layouts()["table1"]
    assert layout_of("main") is None
    assert label_of("methods", "ia3") == "(IA)$^3$"
    assert label_of("tasks", "unheard_of") == "unheard_of"


def test_claims_name_tables_and_methods_that_exist():
    for claim in claims():
        methods = {m for group in layouts()[claim.table].methods for m in group}
        assert {claim.method, *claim.others} <= methods
        assert claim.kind in ("above", "comparable")
        assert ((claim.margin > 0) != (claim.share > 0)) == (claim.kind == "comparable")
        of_table = {metric for _, metric in layouts()[claim.table].columns}
        assert {*claim.metrics} <= of_table
        assert claim.source


def test_claims_of_red_are_those_that_its_sections_make():
    found = {}
    for claim in claims():
        found.setdefault((claim.source, claim.kind), set()).update(claim.others)
    peft = {"houlsby_adapter", "adapter_ffn", "lora_red_roberta", "bitfit"}
    assert found["RED, section 4.2", "comparable"] == peft  # full fine-tuning is none
    assert {"full_ft", "ft_top2"} <= found["RED, section 4.3", "comparable"]
    t5 = {"full_ft", "houlsby_adapter", "adapterdrop", "bitfit"}
    assert found["RED, section 4.4", "comparable"] == t5
    assert found["RED, section 4.4", "above"] == {"prompt_tuning"}
    assert found["RED, section 5.2", "comparable"] == {"red_both"}
    assert found["RED, section 5.2", "above"] == {"red_attention"}


def test_a_damaged_file_of_scores_is_told_with_its_line(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("paper,table\n")
    with pytest.raises(DataError, match="scores.csv must have the columns paper, table, backbone"):
        published_scores(path)
    head = "paper,table,backbone,method,params,task,metric,value,deviation"
    (tmp_path / "other.csv").write_text(f"{head}\nPEDRO,1,b,m,,t,acc,high,\n")
    with pytest.raises(DataError, match=r"other.csv:2 must hold names, a value .* 'high'"):
        published_scores(tmp_path / "other.csv")
