"""The model of costs, on numbers that can be worked by hand."""

from dataclasses import replace

import pytest

from pedro_bench.cli.compose import settings_of
from pedro_bench.data.micro import generate
from pedro_bench.experiment import costs
from pedro_bench.experiment.costs import modelled_cost, most_steps

LLAMA = 6_738_415_616
PAPER = ("trainer=paper", "data=hub", "backbone=llama2_7b", "device=cpu")


def test_steps_of_the_papers_protocol():
    # BoolQ: 9427 rows in batches of 16 are 590 steps an epoch; SQuAD: 86,599 in batches of 128, 677.
    boolq = settings_of([*PAPER, "task=boolq"])
    micro = settings_of(["task=squad"])
    assert most_steps(boolq) == 5900
    assert most_steps(replace(boolq, task=micro.task)) == 6770
    assert most_steps(micro) == 150


def test_time_on_llama_by_hand():
    settings = settings_of([*PAPER, "task=boolq"])
    # 5900 steps x 16 x 279 tokens x 4; 29 dev losses x 1635 x 279 x 2; 1635 x (279 + 3 x 8) x 2.
    a_parameter = 5900 * 16 * 279 * 4 + 29 * 1635 * 279 * 2 + 1635 * 303 * 2
    assert modelled_cost(settings).seconds == pytest.approx(LLAMA * a_parameter / 4e10)


def test_memory_on_llama_by_hand():
    settings = settings_of([*PAPER, "task=boolq", "method=lora", "trainer.micro_batch_size=1"])
    kept = 34 * 4096 * 2  # float32 on a CPU
    expected = 4 * LLAMA + 16 * 9_994_240 + 279 * (32 * kept + 8 * 32000)
    assert modelled_cost(settings).peak_bytes == expected
    frugal = replace(settings, trainer=replace(settings.trainer, gradient_checkpointing=True))
    less = 4 * LLAMA + 16 * 9_994_240 + 279 * (32 * 4 * 4096 + kept + 8 * 32000)
    assert modelled_cost(frugal).peak_bytes == less


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
