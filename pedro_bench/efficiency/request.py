"""What is to be measured; checks itself and imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.records import check_name

LENGTHS = ("paper", "task")
"""Where lengths come from: drawn around the paper's means, or the test split of `task`."""

DECODINGS = ("plain", "static", "compiled")
"""How steps are taken, as in `serving.fast_decoding`."""

BARE = "none"
"""Name of the backbone without a method."""

DEFAULTS: Mapping[str, Any] = {
    "methods": [BARE, "lora", "ia3", "pedro"],
    "beams": [1, 3],
    "tenants": [],
    "decoding": ["plain"],
    "repeats": 5,
    "warmup": 1,
    "prompts": 10,
    "lengths": "paper",
    "prompt_tokens": 278.6,
    "new_tokens": 32.5,
    "seed": 0,
    "suite": "efficiency",
}
"""The command's own keys. 278.6 and 32.5 are the means of the PEDRO paper's Table 3."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One comparison.

    Attributes:
        methods: Distinct names of methods; BARE is the backbone alone.
        beams: Distinct numbers of beams, each at least 1.
        tenants: Distinct sizes of batches in which every sequence belongs to a tenant of its own, each
            at least 1; empty for none.
        decoding: Distinct ones of DECODINGS.
        repeats: How often everything is measured, one method after the other; at least 1.
        warmup: Prompts generated before each measurement, not counted; at least 0.
        prompts: Prompts of one measurement, one after the other; at least 1.
        lengths: One of LENGTHS.
        prompt_tokens: Mean length of the prompts under `lengths=paper`, at least 2.
        new_tokens: Mean number of generated tokens under `lengths=paper`, at least 2.
        seed: Of lengths, tokens and adapters; at least 0.
        suite: Folder of the records.
    """

    methods: tuple[str, ...]
    beams: tuple[int, ...]
    tenants: tuple[int, ...]
    decoding: tuple[str, ...]
    repeats: int
    warmup: int
    prompts: int
    lengths: str
    prompt_tokens: float
    new_tokens: float
    seed: int
    suite: str

    def __post_init__(self) -> None:
        _distinct("methods", self.methods)
        _distinct("beams", self.beams)
        _distinct("decoding", self.decoding)
        for one in self.decoding:
            checks.choice("decoding", one, DECODINGS)
        for key, values in (("beams", self.beams), ("tenants", self.tenants)):
            for value in values:
                checks.integer(key, value)
        if len(set(self.tenants)) != len(self.tenants):
            raise ConfigError(f"tenants must be distinct numbers, got {list(self.tenants)!r}.")
        checks.integer("repeats", self.repeats)
        checks.integer("warmup", self.warmup, least=0)
        checks.integer("prompts", self.prompts)
        checks.choice("lengths", self.lengths, LENGTHS)
        checks.number("prompt_tokens", self.prompt_tokens, least=2)
        checks.number("new_tokens", self.new_tokens, least=2)
        checks.integer("seed", self.seed, least=0)
        check_name("suite", self.suite)


def request_of(values: Mapping[str, Any]) -> Request:
    """Build a request from the command's own keys; one value stands for a list of one.

    Raises:
        ConfigError: If a value is out of range.
    """
    listed = {name: _listed(values[name]) for name in ("methods", "beams", "tenants", "decoding")}
    return Request(**{**values, **listed})


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _distinct(key: str, values: tuple[Any, ...]) -> None:
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{key} must list distinct values, at least one, got {list(values)!r}.")
