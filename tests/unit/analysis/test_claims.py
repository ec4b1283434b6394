"""Claims: each as its paper states it, met by the paper's own numbers."""

from statistics import fmean

import pytest

from pedro_bench.analysis import claims as module
from pedro_bench.analysis.claims import Claim, claims, scaled
from pedro_bench.analysis.papers import layouts, published_of
from pedro_bench.errors import DataError
from pedro_bench.reporting.grids import grids
from tests.unit.analysis.runs import five, only, run


def claim(**changes):
    fields = {"source": "X", "table": "table1", "kind": "above", "method": "a", "others": ("b",)}
    return Claim(**{**fields, **changes})


def columns_of(one):
    """(task, metric) of the table's columns that the claim is about."""
    return [key for key in layouts()[one.table].columns if one.covers(*key)]


def printed(one, backbone, method):
    """The paper's scores on the columns of the claim, in their order; none where one is missing."""
    layout = layouts()[one.table]
    published = published_of(layout.paper, layout.table)
    found = [
        score.value
        for task, metric in columns_of(one)
        for key, score in published.items()
        if key[:3] == (backbone, method, task) and metric in (None, key[3])
    ]
    return found if len(found) == len(columns_of(one)) else []


def pairs(one):
    """(what, own score, other score) of everything that the claim says, from the paper's numbers."""
    for backbone in layouts()[one.table].backbones:
        own = printed(one, backbone, one.method)
        for other in one.others:
            others = printed(one, backbone, other)
            if not (own and others):
                continue
            if one.average:
                first = fmean(scaled((a,), one, b)[0] for a, b in zip(own, others, strict=True))
                second = fmean(scaled((b,), one, b)[0] for b in others)
                yield f"{other} on average, {backbone}", first, second
            else:
                names = columns_of(one)
                for column, a, b in zip(names, own, others, strict=True):
                    yield f"{other} on {column}, {backbone}", a, b


def of_paper():
    return [one for one in claims() if one.table != "figure3"]  # the figure prints no numbers


@pytest.mark.parametrize("one", of_paper(), ids=lambda one: f"{one.source}: {one.kind}")
def test_a_papers_own_numbers_meet_its_claims(one):
    found = list(pairs(one))
    assert {what.split(" on ")[0] for what, _, _ in found} == set(one.others)
    sign = -1 if all(metric == "memory_mib" for _, metric in columns_of(one)) else 1
    assert [what for what, own, other in found if not one.is_met(own, other, sign)] == []


def test_the_averages_are_those_that_red_prints():
    """RED, section 4.4: 11.9 points above prompt tuning. Table 3: 84.1, 84.9; Table 1: 84.3, 85.0."""
    above = next(one for one in claims() if one.others == ("prompt_tuning",))
    ((_, own, other),) = pairs(above)
    assert (round(own, 1), round(other, 1), round(own - other, 1)) == (84.1, 72.2, 11.9)
    glue = next(one for one in claims() if one.table == "red_table1" and one.average)
    found = {what: (own, other) for what, own, other in pairs(glue)}
    base = found["houlsby_adapter on average, roberta_base"]
    assert base == pytest.approx((84.3, 85.0), abs=0.05)


def test_a_claim_on_every_cell_would_not_be_met_where_red_makes_one_on_averages():
    """The reason for `average`: RED is below prompt tuning on three tasks of eight."""
    above = next(one for one in claims() if one.others == ("prompt_tuning",))
    own, other = printed(above, "t5_base", "red"), printed(above, "t5_base", "prompt_tuning")
    assert sum(a <= b for a, b in zip(own, other, strict=True)) == 3


def test_almost_above_in_all_metrics():
    """RED, section 5.3: above in 12 cells of 15, level in one, less than 0.5% below in two."""
    almost = next(one for one in claims() if one.source == "RED, section 5.3")
    signs = [(own > other) - (own < other) for _, own, other in pairs(almost)]
    assert (signs.count(1), signs.count(0), signs.count(-1)) == (12, 1, 2)
    assert almost.is_met(8.36, 8.38)
    assert not almost.is_met(8.30, 8.38)


def test_claims_name_tables_methods_and_columns_that_exist():
    for one in claims():
        layout = layouts()[one.table]
        assert {one.method, *one.others} <= {m for group in layout.methods for m in group}
        assert {*one.metrics} <= {metric for _, metric in layout.columns}
        assert {*one.tasks} <= {task for task, _ in layout.columns}
        assert columns_of(one)
        assert one.source.startswith(f"{layout.paper}, ")


def test_claims_of_red_are_those_that_its_sections_make():
    found = {}
    for one in claims():
        found.setdefault((one.source, one.kind, one.average), set()).update(one.others)
    peft = {"houlsby_adapter", "adapter_ffn", "lora_red_roberta", "bitfit"}
    assert found["RED, section 4.2", "not_below", True] == peft  # full fine-tuning is none
    assert found["RED, section 4.2", "not_below", False] == peft
    assert {"full_ft", "ft_top2"} <= found["RED, section 4.3", "not_below", False]
    t5 = {"full_ft", "houlsby_adapter", "adapterdrop", "bitfit"}
    assert found["RED, section 4.4", "not_below", True] == t5
    assert found["RED, section 4.4", "above", True] == {"prompt_tuning"}
    assert found["RED, section 5.1", "above", False] == {"red_no_scaling", "red_no_bias"}
    assert found["RED, section 5.2", "comparable", True] == {"red_both"}
    assert found["RED, section 5.2", "above", True] == {"red_attention"}


def test_what_meets_a_claim():
    above = claim()
    assert [above.is_met(own, 80.0) for own in (80.1, 80.0, 79.9)] == [True, False, False]
    assert above.is_met(900.0, 1000.0, sign=-1)
    near = claim(kind="comparable", margin=1.0)
    assert [near.is_met(own, 80.0) for own in (81.0, 79.0, 81.1, 78.9)] == [
        True,
        True,
        False,
        False,
    ]
    at_least = claim(kind="not_below", margin=1.0)
    assert [at_least.is_met(own, 80.0) for own in (99.0, 79.0, 78.9)] == [True, True, False]
    assert [at_least.is_met(own, 80.0, sign=-1) for own in (1.0, 81.0, 81.1)] == [True, True, False]
    relative = claim(kind="comparable", margin=5.0, unit="percent")
    assert [relative.is_met(own, 40.0) for own in (42.0, 38.0, 42.1)] == [True, True, False]
    assert (relative.allowed, near.allowed, above.allowed) == ("5%", "1 point", "")


def test_scores_on_other_scales_are_averaged_as_percentages():
    assert scaled((1.0, 3.0), claim(average=True), 2.0) == (1.0, 3.0)
    assert scaled((1.0, 3.0), claim(average=True, unit="percent"), 2.0) == (50.0, 150.0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "better"}, "must have a kind of above, comparable, not_below, got 'better'"),
        ({"unit": "share"}, "must have the unit points or percent, got 'share'"),
        ({"margin": 1.0}, "must have a margin above 0 unless its kind is above, got 1.0"),
        ({"kind": "not_below"}, "must have a margin above 0 unless its kind is above, got 0.0"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(changes, told):
    with pytest.raises(DataError, match=told):
        claim(**changes)


def test_a_paper_claims_nothing_of_tasks_that_only_the_records_have(tmp_path):
    for method, score in (("pedro", 90.0), ("lora", 80.0)):
        for task in ("boolq", "mnli"):
            five(tmp_path, method, task, score=score, suite="table1")
    (section,) = only(tmp_path).sections
    assert {one.task for one in section.verdicts if one.tested} == {"BoolQ"}
    (found,) = [one.tested for one in section.verdicts if one.tested]
    assert found.p == found.comparison.p  # corrected for one claim, not for two


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("share = 0.02\n", r"must have only the keys .*, got \['share'\]"),
        ("", "must have source, table, kind, method and others"),
    ],
)
def test_an_entry_with_other_keys_is_refused(cell, told, tmp_path, monkeypatch):
    file = tmp_path / "claims.toml"
    file.write_text(f'[[claim]]\nsource = "X"\ntable = "table1"\nkind = "above"\n{cell}')
    monkeypatch.setattr(module, "FILE", file)
    with pytest.raises(DataError, match=told):
        claims.__wrapped__()


GLUE = {"mnli": "acc", "sst2": "acc", "mrpc": "acc", "cola": "mcc",
        "qnli": "acc", "qqp": "acc", "rte": "acc", "stsb": "pearson"}  # fmt: skip
METRICS = {"bleu": 60.0, "nist": 8.0, "meteor_1.5": 40.0, "rouge_l": 60.0, "cider": 2.0}


def glue(results_dir, method, offsets, seeds=3, **changes):
    """Write runs on GLUE whose scores are 80, the task's offset, and 0.01 a seed."""
    for task, metric in GLUE.items():
        for seed in range(seeds):
            value = 80.0 + offsets.get(task, 0.0) + 0.01 * seed
            run(results_dir, method, task, seed, main_metric=metric,
                metrics={"test": {metric: value}}, backbone="t5_base", data="files",
                suite="red_table3", **changes)  # fmt: skip


def e2e(results_dir, method, factors, seeds=3):
    for seed in range(seeds):
        scores = {
            name: value * (factors.get(name, 1.0) + 0.0001 * seed)
            for name, value in METRICS.items()
        }
        run(results_dir, method, "e2e", seed, main_metric="bleu", metrics={"test": scores},
            backbone="gpt2_medium", data="files", suite="red_table5")  # fmt: skip


def found(results_dir):
    table = only(results_dir)
    return table, table.sections[0].verdicts


def test_an_average_decides_where_single_tasks_differ(tmp_path):
    """Below on seven tasks and far above on one: above on average."""
    glue(tmp_path, "red", {"cola": 50.0, **dict.fromkeys(("mnli", "qnli", "qqp"), -2.0)})
    glue(tmp_path, "prompt_tuning", {})
    table, verdicts = found(tmp_path)
    (one,) = [verdict for verdict in verdicts if verdict.kind == "above"]
    assert (one.verdict, one.task, one.other) == ("supported", "average", "prompt_tuning")
    assert one.tested.comparison.difference == pytest.approx((50.0 - 3 * 2.0) / 8)
    assert one.tested.comparison.seeds == (3, 3)
    claims = next(block for block in grids(table) if block.caption.startswith("Claims"))
    assert claims.rows[0].cells[0].plain == "red above prompt_tuning on average"


@pytest.mark.parametrize(
    ("offset", "word"),
    [(0.9, "supported"), (20.0, "supported"), (-0.9, "supported"), (-1.1, "contradicted")],
)
def test_not_below_allows_any_gain_and_a_loss_within_the_margin(tmp_path, offset, word):
    glue(tmp_path, "red", dict.fromkeys(GLUE, offset))
    glue(tmp_path, "bitfit", {})
    table, verdicts = found(tmp_path)
    (one,) = [verdict for verdict in verdicts if verdict.tested]
    assert (one.kind, one.verdict, one.margin) == ("not_below", word, "1 point")
    claims = next(block for block in grids(table) if block.caption.startswith("Claims"))
    assert claims.rows[0].cells[0].plain == "red at most 1 point below bitfit on average"
    assert claims.rows[0].cells[3].plain == "--"


def test_an_average_needs_every_task_and_the_same_seeds(tmp_path):
    glue(tmp_path / "seeds", "red", {})
    glue(tmp_path / "seeds", "bitfit", {})
    run(tmp_path / "seeds", "bitfit", "rte", 3, backbone="t5_base", data="files",
        suite="red_table3")  # fmt: skip
    _, verdicts = found(tmp_path / "seeds")
    (one,) = [verdict for verdict in verdicts if verdict.other == "bitfit"]
    assert (one.verdict, one.reason) == (
        "not testable", "an average needs the same number of seeds on every task, two at least",
    )  # fmt: skip
    run(tmp_path / "tasks", "bitfit", "mnli", backbone="t5_base", data="files", suite="red_table3")
    glue(tmp_path / "tasks", "red", {})
    _, verdicts = found(tmp_path / "tasks")
    (one,) = [verdict for verdict in verdicts if verdict.other == "bitfit"]
    assert one.reason == "no finished run of bitfit on sst2"


@pytest.mark.parametrize("task", ["stsb", "copa"])
def test_an_average_is_not_taken_over_the_tasks_begun(task, tmp_path):
    """A small study's table has the columns of its runs; one task says nothing of a mean over eight."""
    for method, score in (("red", 60.0), ("bitfit", 80.0)):
        for seed in range(3):
            run(tmp_path, method, task, seed, score=score + seed, backbone="minilm", data="files",
                suite="small_red_table1")  # fmt: skip
    _, verdicts = found(tmp_path)
    averages = [one for one in verdicts if one.task == "average"]
    assert averages
    assert {one.verdict for one in averages} == {"not testable"}
    of_paper = [one for one, _ in layouts()["red_table1"].columns]
    rest = ", ".join(one for one in of_paper if one != task)
    assert {one.reason for one in averages} == {f"the average is over {rest} too, not begun here"}


def test_an_average_is_not_taken_over_different_protocols(tmp_path):
    glue(tmp_path, "red", {})
    glue(tmp_path, "bitfit", {}, groups={"trainer": {"max_steps": 5}})
    glue(tmp_path, "full_ft", {}, groups={"trainer": {"max_steps": 7}})
    _, verdicts = found(tmp_path)
    told = {one.other: one.reason for one in verdicts}
    assert told["bitfit"] == ""
    glue(
        tmp_path,
        "red",
        {},
        groups={"trainer": {"max_steps": 5}},
        started="2026-03-01T00:00:00+00:00",
    )
    _, verdicts = found(tmp_path)
    told = {one.other: one.reason for one in verdicts}
    assert told["bitfit"] == ""
    assert told["full_ft"] == "different protocols (trainer.max_steps 5 and 7)"


def test_metrics_on_other_scales_are_averaged_as_percentages(tmp_path):
    """CIDEr 3% above and BLEU 1% below: above on average, although BLEU loses more points."""
    e2e(tmp_path, "red", {"cider": 1.03, "bleu": 0.99})
    e2e(tmp_path, "lora_red_gpt2", {})
    _, verdicts = found(tmp_path)
    (one,) = [verdict for verdict in verdicts if verdict.kind == "above" and verdict.tested]
    assert one.tested.comparison.difference == pytest.approx(0.4, abs=0.01)
    assert (one.verdict, one.task) == ("supported", "average")
    cells = {verdict.task: verdict.verdict for verdict in verdicts if verdict.tested}
    assert (cells["e2e (cider)"], cells["e2e (bleu)"]) == ("supported", "contradicted")


def test_a_score_of_zero_is_no_base_of_percentages(tmp_path):
    e2e(tmp_path, "red", {})
    for seed in range(3):
        scores = {**METRICS, "cider": 0.0, "bleu": 50.0 + seed}
        run(tmp_path, "lora_red_gpt2", "e2e", seed, main_metric="bleu", metrics={"test": scores},
            backbone="gpt2_medium", data="files", suite="red_table5")  # fmt: skip
    _, verdicts = found(tmp_path)
    (one,) = [
        verdict
        for verdict in verdicts
        if verdict.kind == "above" and verdict.other == "lora_red_gpt2"
    ]
    assert one.reason == "nothing is a percentage of the score 0 on e2e"
