"""Combinations of a sweep are composed fast, and equal what Hydra composes one by one."""

import pytest

from pedro_bench.cli.hydra import sweep
from pedro_bench.cli.hydra.compose import configuration_of
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.errors import ConfigError


@pytest.mark.parametrize(
    "arguments",
    [
        ["method=pedro,lora", "task=sst2,boolq", "method.r=3,6"],
        ["method=pedro", "method.lr=1e-3,null", "seeds=[0],[1,2]", "suite=one,two"],
        ["method=pedro", "trainer=micro,paper", "trainer.max_steps=7", "method.roles=[query]"],
        ["method=ia3", "data=files", "data.root=here,'there and back'", "device=cpu"],
        [
            "method=lora",
            "backbone=micro",
            "evaluation=generation,likelihood",
            "evaluation.num_beams=1",
        ],
        ["method=lora", "~tracking", "method.r=1,2"],
    ],
)
def test_every_combination_is_what_hydra_composes(arguments, monkeypatch):
    given = []
    assembled = sweep.Assembler.assembled

    def keeping(assembler, combination):
        given.append((combination, assembled(assembler, combination)))
        return given[-1][1]

    monkeypatch.setattr(sweep.Assembler, "assembled", keeping)
    monkeypatch.setattr(sweep, "settings_from", lambda *_: None)
    assert len(sweep_of(arguments)) == len(given) > 1
    for combination, config in given:
        assert config == configuration_of([one.removeprefix("++") for one in combination])


def test_what_hydra_merges_is_composed_once_for_each_choice(monkeypatch):
    composed = []

    def counting(lines):
        composed.append(tuple(lines))
        return compose(lines)

    compose = sweep.compose
    monkeypatch.setattr(sweep, "compose", counting)
    numbers = ",".join(str(number) for number in range(1, 41))
    found = sweep_of(["method=pedro,lora", f"method.r={numbers}", "task=boolq", "seeds=[0],[1]"])
    assert len(found) == 160
    assert sorted({one.settings.method.r for one in found}) == list(range(1, 41))
    # What all share, for the sweeper and for the combinations; two methods; one task.
    assert len(composed) == 5


def test_a_combination_does_not_change_the_next_ones(monkeypatch):
    found = sweep_of(["method=pedro", "method.r=3,6", "trainer.lr=1e-2,1e-4"])
    chosen = [(one.settings.method.r, one.settings.trainer.lr) for one in found]
    assert chosen == [(3, 1e-2), (3, 1e-4), (6, 1e-2), (6, 1e-4)]


def test_a_value_that_does_not_fit_is_told_with_its_combination():
    with pytest.raises(ConfigError, match=r"the overrides must fit together.*seeds\.first=1"):
        sweep_of(["method=pedro", "seeds.first=1,2"])
