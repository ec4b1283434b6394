"""Differences from the papers' numbers: only where a run was made as the paper's were."""

import csv
import os
from pathlib import Path

import pytest

from pedro_bench.analysis.papers import (
    Published,
    in_published_order,
    label_of,
    layout_of,
    layouts,
    published_of,
    published_parameters,
    published_scores,
)
from pedro_bench.errors import DataError
from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import markdown
from tests.unit.analysis.runs import five, only, run
from tests.unit.analysis.test_evaluations import evaluate

LLAMA = {"backbone": "llama2_7b", "data": "hub"}
PAPER = {
    "trainer": {
        "lr": 1e-4,
        "num_epochs": 10,
        "max_steps": None,
        "warmup_ratio": 0.06,
        "beta1": 0.9,
    },
    "evaluation": {"_target_": "x.EvaluationConfig", "num_beams": 3, "length_penalty": 1.0},
    "backbone": {"path": "somewhere/7b", "random_weights": False},
}


def with_changes(group, **changes):
    return {**PAPER, group: {**PAPER[group], **changes}}


def cell_of(table, method):
    (line,) = (one for one in table.sections[0].lines if one.method == method)
    return next(cell for cell in line.cells if cell.shown)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (with_changes("trainer", max_steps=100), "trainer.max_steps=100"),
        (with_changes("trainer", num_epochs=1), "trainer.num_epochs=1"),
        (with_changes("trainer", group_by_length=True), "trainer.group_by_length=true"),
        (with_changes("evaluation", num_beams=1), "evaluation.num_beams=1"),
        (with_changes("evaluation", _target_="x.LikelihoodConfig"), "evaluation=likelihood"),
        (with_changes("backbone", random_weights=True), "backbone.random_weights=true"),
    ],
)
def test_another_protocol_takes_no_difference_and_is_named(tmp_path, groups, told):
    five(tmp_path, "pedro", suite="table4", groups=groups, **LLAMA)
    five(tmp_path, "pedro_1", suite="table4", groups=PAPER, **LLAMA)
    table = only(tmp_path)
    cell, other = cell_of(table, "pedro"), cell_of(table, "pedro_1")
    assert (cell.published.printed, cell.difference) == ("87.4", None)
    assert other.difference == pytest.approx(80.0 - 87.1)
    note = f"Not by the paper's protocol, so no difference is taken: pedro on boolq ({told})."
    assert note in notes(table)
    where = "where backbone, data and protocol are the paper's"
    assert f"In brackets: our median less the published number, {where}." in markdown(table)


def test_rates_and_portions_are_no_other_protocol(tmp_path):
    groups = with_changes("trainer", lr=3e-4, micro_batch_size=4, micro_batch_tokens=None)
    five(tmp_path, "pedro", suite="table4", groups=groups, **LLAMA)
    table = only(tmp_path)
    assert cell_of(table, "pedro").difference == pytest.approx(80.0 - 87.4)
    assert "- In brackets: our median less the published number." in markdown(table)
    assert not any("protocol" in note for note in notes(table))


def test_red_has_epochs_and_decoding_of_its_own_and_reports_means(tmp_path):
    places = {"suite": "red_table6", "backbone": "roberta_large", "data": "hub"}
    own = with_changes("trainer", num_epochs=40, batch_size=32)
    own["evaluation"] = {"num_beams": 1}
    five(tmp_path, "red", "mrpc", groups=own, **places)
    other = with_changes("trainer", num_epochs=40, batch_size=32, max_steps=9)
    five(tmp_path, "red", "cola", groups={**own, "trainer": other["trainer"]}, **places)
    table = only(tmp_path)
    (line,) = (one for one in table.sections[0].lines if one.method == "red")
    assert line.cells[0].difference is not None
    assert line.cells[1].difference is None
    note = "RED reports the mean over its seeds; the scores next to it are our medians."
    assert note in notes(table)


@pytest.mark.parametrize(
    ("judge", "limit", "told"),
    [
        ("tiny", None, "judge.model=tiny"),
        ("gpt-4", 10, "limit=10"),
        ("gpt-4-0613", 10, "limit=10, judge.model=gpt-4-0613"),
        ("gpt-4o", None, "judge.model=gpt-4o"),
        ("gpt-4.1-mini", None, "judge.model=gpt-4.1-mini"),
        ("openai/gpt-4", None, "judge.model=openai/gpt-4"),
        ("gpt-4", None, ""),
    ],
)
def test_an_evaluation_of_some_rows_or_by_another_judge_takes_no_difference(
    tmp_path, judge, limit, told
):
    for seed in range(5):
        of = run(tmp_path, "pedro", "alpaca", seed, suite="table2", groups=PAPER, **LLAMA)
        settings = {"judge": {"model": judge}, "limit": limit}
        evaluate(tmp_path, of, "mt_bench", {"score": 7.0 + seed / 10}, settings=settings)
    table = only(tmp_path)
    found = table.sections[0].lines[1].cells[0]
    assert found.published is not None
    if told:
        assert found.difference is None
        assert any(f"pedro on mt_bench ({told})" in note for note in notes(table))
    else:
        assert found.difference == pytest.approx(7.2 - found.published.value)


def number(params):
    return Published("lora", "llama2_7b", "PEDRO", "1", params)


def test_the_file_has_the_papers_tables():
    rows = published_parameters()
    assert [one.method for one in rows if one.source == "PEDRO, Table 1"] == (
        "full_ft ptuning_v2 lpt houlsby_adapter learned_adapter lora adalora ssp bitfit ia3 pedro"
    ).split()
    assert len({(one.method, one.backbone, one.source) for one in rows}) == len(rows)
    counts = {(one.backbone, one.table): one.params for one in rows if one.method == "red"}
    assert counts["llama2_7b", "4"] == "0.26M"


def test_the_counts_of_the_red_paper_are_those_of_its_tables_of_scores():
    """RED prints a count in each row of its Tables 1 to 5."""
    printed = {
        (one.backbone, one.table, one.method): one.params
        for one in published_scores()
        if one.paper == "RED" and one.table in "12345" and one.params
    }
    rows = [one for one in published_parameters() if one.paper == "RED" and one.table != "4"]
    found = {(one.backbone, one.table, one.method): one.params for one in rows}
    assert found == {key: printed[key] for key in found}
    lacking = {key for key in printed if key not in found and key[1] != "4"}
    assert {method for _, table, method in lacking if table != "5"} == set()


def test_a_setting_names_fields_or_is_for_reading():
    assert Published("x", "b", "RED", "1", "1M", "r = 8").sizes == {"r": 8}
    both = "num_virtual_tokens = 16, encoder_hidden_size = null"
    sizes = Published("x", "b", "RED", "1", "1M", both).sizes
    assert sizes == {"num_virtual_tokens": 16, "encoder_hidden_size": None}
    for text in ("", "bottleneck 18", "r = 16 on Q, V", "r' = 8"):
        assert Published("x", "b", "RED", "1", "1M", text).sizes == {}


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
    assert layout_of("small_table1_gpu") is layouts()["table1"]
    assert layout_of("main") is None
    assert label_of("methods", "ia3") == "(IA)$^3$"
    assert label_of("tasks", "unheard_of") == "unheard_of"


PEDRO_PAPER = Path(
    os.environ.get("PEDRO_BENCH_PAPER", Path(__file__).parents[4] / "shared" / "paper")
)
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
    not (PEDRO_PAPER / "published.csv").exists(), reason="no published.csv beside the checkout"
)
def test_the_published_numbers_are_those_of_the_other_file():
    with (PEDRO_PAPER / "published.csv").open(encoding="utf-8", newline="") as opened:
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
