"""Published numbers and layouts: they name each other rightly, and hold what the papers print."""

import csv
import os
from pathlib import Path

import pytest

from pedro_bench.analysis.layouts import label_of, layout_of, layouts
from pedro_bench.analysis.published import published_of, published_scores
from pedro_bench.errors import DataError


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


PAPER = Path(os.environ.get("PEDRO_BENCH_PAPER", Path(__file__).parents[4] / "shared" / "paper"))
"""Folder with a copy of the papers' numbers that was typed independently."""

OTHER_NAMES = {
    "adapter": "houlsby_adapter",
    "adapter_rank1": "houlsby_adapter",
    "lora_rank1": "lora_red_gpt2",
    "adapter_ffn_rank1": "adapter_ffn",
    "red_ffn": "red",
    "red_attn": "red_attention",
    "red_ffn_attn": "red_both",
    "beam1": "generate_beam1",
    "beam3": "generate_beam3",
    "f1-em": "f1_em",
    "gpt4-score": "score",
    "meteor": "meteor_1.5",
}
RED_LORA = {"1": "lora_red_roberta", "2": "lora_red_gpt2"}

MISTYPED = {("red", "1", "roberta_large", "adapter_ffn", "qnli", "acc"): ("0.16", "0.39")}
"""Place -> (deviation in the other file, deviation in the paper): RED, Table 14, prints (0.39)."""


@pytest.mark.skipif(
    not (PAPER / "published.csv").exists(), reason="no published.csv beside the checkout"
)
def test_the_published_numbers_are_those_of_the_other_file():
    with (PAPER / "published.csv").open(encoding="utf-8", newline="") as opened:
        others = list(csv.DictReader(opened))
    scores = published_scores()
    assert len(scores) == len(others)
    for one, other in zip(scores, others, strict=True):
        names = {
            key: OTHER_NAMES.get(other[key], other[key]) for key in ("method", "task", "metric")
        }
        if other["paper"] == "red" and other["method"] == "lora":
            names["method"] = RED_LORA.get(other["table"], "lora_red")
        if (other["paper"], other["metric"]) in (("pedro", "acc"), ("red", "acc")) and other[
            "task"
        ] in ("mmlu", "bbh"):
            names["metric"] = "accuracy"
        place = (other["paper"], other["table"], other["backbone"])
        assert (one.paper.lower(), one.table, one.backbone, one.method, one.task, one.metric) == (
            *place,
            *names.values(),
        )
        wrong, printed = MISTYPED.get((*place, *names.values()), (None, None))
        deviation = printed if other["std"] == wrong else other["std"]
        assert (one.printed, one.params) == (other["value"], other["params"])
        assert one.deviation == (float(deviation) if deviation else None)


def test_the_values_that_were_corrected():
    table = published_of("RED", "2")
    assert table["gpt2_medium", "full_ft", "e2e", "rouge_l"].deviation == 0.30
    assert table["gpt2_large", "full_ft", "e2e", "meteor_1.5"].deviation == 0.29
    large = published_of("RED", "1")
    assert large["roberta_large", "adapter_ffn", "sst2", "acc"].deviation == 0.75
    assert large["roberta_large", "adapter_ffn", "qnli", "acc"].deviation == 0.39
    lecture = published_of("Lecture", "e2e_prefix")
    assert lecture["gpt2_medium", "prefix_tuning", "e2e", "meteor_1.5"].printed == "46.3"


def test_a_damaged_file_of_scores_is_told_with_its_line(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("paper,table\n")
    with pytest.raises(
        DataError, match="scores.csv:1 must have the columns paper, table, backbone"
    ):
        published_scores(path)
    head = "paper,table,backbone,method,params,task,metric,value,deviation"
    (tmp_path / "other.csv").write_text(f"{head}\nPEDRO,1,b,m,,t,acc,high,\n")
    with pytest.raises(DataError, match=r"other.csv:2 must hold names, a value .* 'high'"):
        published_scores(tmp_path / "other.csv")
