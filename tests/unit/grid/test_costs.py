"""The model of costs, on numbers that can be worked by hand."""

from dataclasses import replace

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.options import options
from pedro_bench.data.encoding import encode
from pedro_bench.data.micro import generate
from pedro_bench.data.splits import make_splits
from pedro_bench.grid import costs
from pedro_bench.grid.costs import modelled_cost, most_steps
from pedro_bench.protocols.task import Located

LLAMA = 6_738_415_616
MULTIPLIED = LLAMA - 32_000 * 4_096
ANSWERING = {
    "boolq": {"generation": 279 + 3 * 8, "likelihood": 2 * 287, "both": 303 + 2 * 287},
    "copa": {"likelihood": 2 * (279 + 32)},
    "record": {"likelihood": 12 * (279 + 32)},
    "stsb": {"likelihood": 26 * (279 + 8)},
}
ONE_LEVEL = ("method=ssp", "method.bilevel=none", "method.architecture_lr=null")
PAPER = ("trainer=paper", "data=hub", "backbone=llama2_7b", "device=cpu")


def test_steps_of_the_papers_protocol():
    # BoolQ: 9427 rows in batches of 16 are 590 steps an epoch; SQuAD: 86,599 in batches of 128, 677.
    boolq = settings_of([*PAPER, "task=boolq"])
    micro = settings_of(["task=squad"])
    assert most_steps(boolq) == 5900
    assert most_steps(replace(boolq, task=micro.task)) == 6770
    assert most_steps(micro) == 150


def test_time_on_llama_by_hand():
    settings = settings_of([*PAPER, "task=boolq", "method=lora"])
    # 5900 steps x 16 x 279 tokens x 4; 30 dev losses x 1635 x 279 x 2; 1635 x (279 + 3 x 8) x 2.
    a_parameter = 5900 * 16 * 279 * 4 + 30 * 1635 * 279 * 2 + 1635 * 303 * 2
    assert modelled_cost(settings).seconds == pytest.approx(MULTIPLIED * a_parameter / 4e10)


def test_time_counts_the_rows_that_are_read_and_short_examples_as_short():
    settings = settings_of(
        [*PAPER, "task=sst2", "method=ia3", "trainer.eval_rows=400", "evaluation.test_rows=100"]
    )
    # 10 epochs of 66,349 rows in batches of 128: 5190 steps, 26 dev losses.
    a_parameter = 5190 * 128 * 33 * 4 + 26 * 400 * 33 * 2 + 100 * (33 + 3 * 8) * 2
    assert modelled_cost(settings).seconds == pytest.approx(MULTIPLIED * a_parameter / 4e10)
    by_metric = replace(settings.trainer, metric_for_best_model="main_metric")
    a_parameter += 26 * 400 * (33 + 3 * 8) * 2  # dev rows are answered too
    found = modelled_cost(replace(settings, trainer=by_metric)).seconds
    assert found == pytest.approx(MULTIPLIED * a_parameter / 4e10)


@pytest.mark.parametrize(
    ("method", "batches", "phases"),
    [
        (["method=lora"], 1, 1),
        (["method=pedro"], 2, 1),
        (["method=pedro", "method.bilevel=none"], 1, 1),
        (["method=learned_adapter"], 3, 2),
        (["method=ssp"], 3, 2),
        (ONE_LEVEL, 2, 2),
        ([*ONE_LEVEL, "method.structure=[layers.0.query.bias]"], 1, 1),
    ],
)
def test_levels_and_a_search_read_more_batches(method, batches, phases):
    settings = settings_of([*PAPER, *method, "task=boolq", "trainer.max_steps=200"])
    # One dev loss of 1635 rows in each phase, and the test set.
    a_parameter = batches * 200 * 16 * 279 * 4 + phases * 1635 * 279 * 2 + 1635 * 303 * 2
    assert modelled_cost(settings).seconds == pytest.approx(MULTIPLIED * a_parameter / 4e10)


def test_a_step_on_a_gpu_takes_its_starts_at_least():
    given = [
        *PAPER[:3],
        "method=lora",
        "device=cuda",
        "trainer.max_steps=100",
        "trainer.eval_every_steps=100",
    ]
    small = settings_of([*given, "task=copa", "trainer.batch_size=1", "evaluation.test_rows=1"])
    assert modelled_cost(small).seconds == pytest.approx(100 * 32 * 2e-3)
    large = settings_of([*given, "task=boolq", "trainer.batch_size=128"])
    a_parameter = 100 * 128 * 279 * 4 + 1635 * 279 * 2 + 1635 * 303 * 2
    assert modelled_cost(large).seconds == pytest.approx(MULTIPLIED * a_parameter / 6e13)


def test_memory_on_llama_by_hand():
    settings = settings_of([*PAPER, "task=boolq", "method=lora", "trainer.micro_batch_size=1"])
    kept = 34 * 4096 * 2  # float32 on a CPU
    weights_and_state = 4 * LLAMA + 16 * 9_994_240
    a_token = 32 * kept + 8 * 32000
    assert modelled_cost(settings).peak_bytes == weights_and_state + 1200 * a_token
    half = replace(settings, backbone=replace(settings.backbone, dtype="bfloat16"))
    a_half = 32 * kept / 2 + 8 * 32000
    assert modelled_cost(half).peak_bytes == 2 * LLAMA + 16 * 9_994_240 + 1200 * a_half
    frugal = replace(settings, trainer=replace(settings.trainer, gradient_checkpointing=True))
    less = weights_and_state + 1200 * (32 * 4 * 4096 + kept + 8 * 32000)
    assert modelled_cost(frugal).peak_bytes == less


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, 8192),  # 16 examples of 1200 tokens need more
        ({"micro_batch_tokens": None}, 16 * 1200),
        ({"micro_batch_size": 2}, 2 * 1200),
        ({"micro_batch_size": 2, "max_length": 512}, 2 * 512),
        ({"micro_batch_tokens": 100}, 1200),  # one example always passes
    ],
)
def test_the_largest_pass_sets_the_peak(changes, tokens):
    settings = settings_of([*PAPER, "task=boolq", "method=lora"])
    one = replace(settings.trainer, micro_batch_size=1, micro_batch_tokens=None, max_length=1)
    per_token = 32 * 34 * 4096 * 2 + 8 * 32000
    peak, least = (
        modelled_cost(replace(settings, trainer=trainer)).peak_bytes
        for trainer in (replace(settings.trainer, **changes), one)
    )
    assert peak - least == (tokens - 1) * per_token


@pytest.mark.parametrize("evaluation", options("evaluation"))
def test_every_evaluation_has_its_cost(evaluation):
    settings = settings_of([*PAPER, "task=boolq", f"evaluation={evaluation}"])
    assert costs._answering(settings, 279) == ANSWERING["boolq"][evaluation]
    without = replace(settings, task=replace(settings.task, max_new_tokens=1))
    fewer = ANSWERING["boolq"][evaluation] - costs._answering(without, 279)
    difference = modelled_cost(settings).seconds - modelled_cost(without).seconds
    assert difference == pytest.approx(MULTIPLIED * 1635 * fewer * 2 / 4e10)


@pytest.mark.parametrize("task", ["copa", "record", "stsb"])
def test_every_candidate_is_read_with_its_prompt(task):
    settings = settings_of([*PAPER, f"task={task}", "evaluation=likelihood"])
    assert costs._answering(settings, 279) == ANSWERING[task]["likelihood"]


def test_rows_of_the_split_rules():
    rule = "task.split_rule=from_validation"
    sizes = [costs._sizes(settings_of([*PAPER, "task=qnli", *more])) for more in ([], [rule])]
    assert [(one.train, one.dev, one.test) for one in sizes] == [
        (103_743, 1000, 5463),
        (104_743, 1000, 4463),
    ]
    rte = costs._sizes(settings_of([*PAPER, "task=rte", rule]))
    assert (rte.dev, rte.test) == (138, 139)


@pytest.mark.parametrize(
    ("rule", "official", "rows"),
    [
        ("holdout", [800, 100], (600, 200, 100)),  # not 1000 of 800 rows
        ("by_size", [12_000, 100], (11_000, 1000, 100)),
        ("train_only", [52_002, 0], (50_002, 1000, 1000)),
        ("train_only", [800, 0], (450, 150, 200)),
        ("given", [42_061, 4672], (42_061, 4672, 4672)),
    ],
)
def test_rows_are_those_of_the_splits(rule, official, rows):
    """A task of one's own may be smaller than `dev_rows`: its steps and seconds were below 0."""
    task = replace(
        settings_of([*PAPER, "task=rte"]).task, split_rule=rule, official_rows=tuple(official)
    )
    settings = replace(settings_of([*PAPER, "task=rte"]), task=task)
    sizes = costs._sizes(settings)
    assert (sizes.train, sizes.dev, sizes.test) == rows
    assert modelled_cost(settings).seconds > 0
    whole = [{"label": 0, "premise": f"p{row}", "hypothesis": "h"} for row in range(sum(official))]
    pools = {"train": whole[: official[0]], "validation": whole[official[0] :]}
    pools = {name: own for name, own in pools.items() if own}
    if sum(official) < 1000:
        made = make_splits(
            task,
            {name: [Located(row, "here") for row in own] for name, own in pools.items()},
            holdout=None,
        )
        assert (made["train"].rows, made["dev"].rows, made["test"].rows) == rows


def test_a_share_of_the_train_rows_stands_in_for_validation_rows_that_there_are_not():
    settings = settings_of([*PAPER, "task=rte", "data.holdout=0.25"])
    task = replace(settings.task, split_rule="halves", official_rows=(800, 0))
    sizes = costs._sizes(replace(settings, task=task))
    assert (sizes.train, sizes.dev, sizes.test) == (600, 100, 100)


@pytest.mark.parametrize(
    ("task", "paper", "code"),
    [
        ("mnli", (392_702, 1000, 8815), (391_702, 1000, 9815)),
        ("qqp", (363_846, 1000, 39_430), (362_846, 1000, 40_430)),
        ("qnli", (104_743, 1000, 4463), (103_743, 1000, 5463)),
        ("sst2", (67_349, 436, 436), (66_349, 1000, 872)),
        ("cola", (8551, 521, 522), (8551, 521, 522)),
        ("stsb", (5749, 750, 750), (5749, 750, 750)),
        ("mrpc", (3668, 204, 204), (3668, 204, 204)),
        ("rte", (2490, 138, 139), (2490, 138, 139)),
    ],
)
def test_reds_two_ways_to_split_glue(task, paper, code):
    """Its paper's Table 8, and `load_glue_data_t5` of its code."""
    for rule, rows in (("from_validation", paper), ("by_size", code)):
        sizes = costs._sizes(settings_of([*PAPER, f"task={task}", f"task.split_rule={rule}"]))
        assert (sizes.train, sizes.dev, sizes.test) == rows


def test_full_fine_tuning_costs_half_as_much_again_and_its_state():
    lora = settings_of(["method=lora"])
    full = replace(lora, method=settings_of(["method=full_ft"]).method)
    one, other = modelled_cost(full), modelled_cost(lora)
    assert 1.2 < one.seconds / other.seconds < 1.5
    shape = lora.backbone.shape()
    state = 12 * shape.num_parameters - 16 * lora.method.count(shape).trainable
    assert one.peak_bytes - other.peak_bytes == state


def test_the_micro_worlds_sizes_are_the_generators():
    sizes = {split: len(rows) for split, rows in generate("copa").items()}
    known = costs._MICRO
    assert sizes == {"train": known.train, "dev": known.dev, "test": known.test}


def test_the_micro_worlds_longest_example_is_known():
    settings = settings_of(["task=squad"])
    tokenizer = settings.backbone.load(device="cpu").tokenizer
    train = [settings.task.example(row) for row in generate("squad")["train"]]
    long = sorted(train, key=lambda one: len(one.prompt + one.answer))[-100:]
    lengths = [
        len(one) for one in encode(tokenizer, long, max_length=512, with_answers=True).encoded
    ]
    assert 100 < max(lengths) <= costs._MICRO.longest
