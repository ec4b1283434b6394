"""A budget in, a size out: nearest to it, the smaller of two, and never beside a typed size."""

from dataclasses import dataclass, fields
from typing import ClassVar

import pytest

from pedro_bench import grid
from pedro_bench.backbones.shapes import read_shape
from pedro_bench.cli.budget import nearest_size, settings_from, size_field
from pedro_bench.cli.hydra.compose import configuration_of, settings_of
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.method import Method, ParameterCount
from tests.tiny import METHOD_NAMES, build_method

SHAPE = read_shape(
    {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
    },
    "a test",
)
FIELDS = {name: size_field(type(build_method(name))) for name in METHOD_NAMES}
SIZED = [name for name, field in FIELDS.items() if field not in (None, "budget")]


@dataclass(frozen=True, kw_only=True)
class Steps(Method):
    """A made-up count: 10 entries for every second size; sizes from 3 to 40 are taken."""

    units: int
    size_fields: ClassVar[tuple[str, ...]] = ("units",)

    def __post_init__(self):
        if not 3 <= self.units <= 40:
            raise ConfigError("method.units must be 3 to 40.")

    def count(self, shape):
        entries = 10 * (self.units // 2)
        return ParameterCount(matrices=entries, trainable=entries)

    def attach(self, injection):
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class OwnBudget(Steps):
    """A method that is told its budget."""

    budget: int


def brute_force(method, field, budget, most):
    """The nearest of all sizes up to `most`, the smaller where two are as near."""
    found = []
    for value in range(1, most + 1):
        try:
            entries = build(method, field, value).count(SHAPE).matrices
        except ConfigError:
            continue
        found.append((abs(entries - budget), value))
    return min(found)[1]


def build(method, field, value):
    return type(method)(
        **{part.name: getattr(method, part.name) for part in fields(method)} | {field: value}
    )


@pytest.mark.parametrize("units", [3, 7, 20, 40])
@pytest.mark.parametrize("budget", [1, 10, 14.9, 15, 15.1, 25, 60, 65, 199, 200, 201, 5000])
def test_steps_and_limits_against_brute_force(units, budget):
    method = Steps(name="steps", label="steps", units=units)
    sized = nearest_size(method, SHAPE, budget)
    assert sized.value == brute_force(method, "units", budget, 50)
    assert sized.method.units == sized.value
    assert sized.count == sized.method.count(SHAPE)


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("budget", [1, 1000, 2344.5, 8000])
def test_every_method_that_has_a_size_against_brute_force(name, budget):
    method = build_method(name)
    sized = nearest_size(method, SHAPE, budget)
    assert sized.value == brute_force(method, sized.field, budget, 600)


def test_a_tie_takes_the_smaller():
    lora = build_method("lora", r=9)
    unit = build_method("lora", r=1).count(SHAPE).matrices
    assert [nearest_size(lora, SHAPE, n * unit / 2).value for n in (1, 2, 3, 5)] == [1, 1, 1, 2]
    assert nearest_size(lora, SHAPE, 2.5 * unit + 1).value == 3


def test_a_method_that_starts_without_a_size():
    plain = build_method("ia3", r=None)
    assert nearest_size(plain, SHAPE, 5 * plain.count(SHAPE).matrices).value == 5


def test_the_papers_budget_on_llama2_7b():
    shape = settings_of(["backbone=llama2_7b"]).backbone.shape()
    found = {name: nearest_size(build_method(name), shape, 8.9e6) for name in ("pedro", "lora")}
    assert (found["pedro"].value, found["pedro"].count.matrices) == (12, 8_945_664)
    assert (found["lora"].value, found["lora"].count.matrices) == (4, 9_994_240)


def test_a_budget_on_the_command_line_is_the_run_of_its_size(tmp_path):
    place = [f"results_dir={tmp_path}", "method=lora", "data=micro"]
    asked = settings_of([*place, "method.budget=30000"])
    size = asked.method.r
    typed = settings_of([*place, f"method.r={size}"])
    assert asked.method == typed.method
    assert [entry[1] for entry in grid.plan(asked)] == [entry[1] for entry in grid.plan(typed)]
    assert asked.resolved_config["budget"] == {
        "asked": 30000,
        "field": "r",
        "value": size,
        "matrices": asked.method.count(asked.backbone.shape()).matrices,
    }
    assert "budget" not in typed.resolved_config
    assert "budget" not in asked.resolved_config["method"]


def test_the_size_follows_the_backbone():
    sizes = [
        settings_of(["method.budget=8.9e6", f"backbone={backbone}"]).method.r
        for backbone in ("llama2_7b", "gemma_2b")
    ]
    assert sizes == [12, 24]


def test_a_sweep_over_budgets():
    sweep = sweep_of(["method=pedro,ia3", "method.budget=2e4,8e4"])
    sizes = [one.settings.method.r for one in sweep]
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[3]
    with pytest.raises(ConfigError, match=r"in place of method\.r, got both: .*method\.budget=1"):
        sweep_of(["method.r=3", "method.budget=1e5,1e6"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["method.r=3", "method.budget=1e5"],
            r"a budget must stand in place of method\.r, got both",
        ),
        (["+method.budget=1e5", "++method.r=3"], r"must stand in place of method\.r, got both"),
        (
            ["method=full_ft", "method.budget=1e5"],
            r"method\.budget must be left out for method=full_ft, which has no .* got 100000\.",
        ),
        (
            ["method=pedro", "method.budget=100"],
            r"budget must be within reach of method=pedro, got 100, .* is [0-9,]+ with method\.r=1:",
        ),
        (["method.budget=0"], r"method\.budget must be a number above 0, got 0\."),
        (["method.budget=8.9M"], r"method\.budget must be a number above 0, got '8\.9M'"),
        (["method.budget=null"], r"method\.budget must be a number above 0, got None"),
        (["method.budget=1e5", "method.alpa=3"], r"method\.alpa must be a known key, got 'alpa'"),
        (
            ["method.budget=1e5", "method._target_=no.where"],
            r"_target_ must name .* got 'no.where'",
        ),
    ],
)
def test_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(overrides)


def test_a_method_with_a_budget_of_its_own_is_given_the_number(monkeypatch):
    assert size_field(OwnBudget) == "budget"
    own = OwnBudget(name="own", label="own", units=4, budget=7)
    assert nearest_size(own, SHAPE, 8.9e6).method.budget == 8_900_000
    monkeypatch.setattr("pedro_bench.methods.lora.OwnBudget", OwnBudget, raising=False)
    config = configuration_of([])
    config["method"] = {
        "_target_": "pedro_bench.methods.lora.OwnBudget",
        "name": "own",
        "label": "own",
        "units": 4,
        "budget": 8.9e6,
    }
    settings = settings_from(config, {"method.units", "method.budget"})
    assert settings.method.budget == 8_900_000
    assert "budget" not in settings.resolved_config


def test_a_search_within_a_budget_is_given_the_number_as_it_is():
    assert FIELDS["ssp"] == "budget"
    sized = nearest_size(build_method("ssp"), SHAPE, 2000.4)
    assert (sized.field, sized.value, sized.count.matrices) == ("budget", 2000, 2000)
    with pytest.raises(ConfigError, match=r"method\.budget must hold the smallest candidate"):
        nearest_size(build_method("ssp"), SHAPE, 1)
