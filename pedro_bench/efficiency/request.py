"""What is to be measured; checks itself and imports no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.methods.adalora import AdaLora
from pedro_bench.methods.lora import Lora
from pedro_bench.protocols.method import Method
from pedro_bench.records import check_name

LENGTHS = ("paper", "task")
"""Where lengths come from: drawn around the paper's means, or the test split of `task`."""

DECODINGS = ("plain", "static", "compiled")
"""How steps are taken, as in `serving.fast_decoding`."""

BARE = "none"
"""Name of the backbone without a method."""

MERGEABLE = (Lora, AdaLora)
"""Methods whose update is a product of matrices beside a projection: it can be added to the weights."""

DEFAULTS: Mapping[str, Any] = {
    "methods": [BARE, "lora", "ia3", "pedro"],
    "beams": [1, 3],
    "tenants": [],
    "decoding": ["plain"],
    "merged": False,
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
        merged: Whether methods of MERGEABLE are measured a second time, added to the weights.
        repeats: How often everything is measured, one method after the other; at least 1.
        warmup: Batches generated before each measurement, the same for every system and not counted;
            at least 1.
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
    merged: bool
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
        checks.flag("merged", self.merged)
        checks.integer("repeats", self.repeats)
        checks.integer("warmup", self.warmup)
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


def check_merged(request: Request, methods: Mapping[str, Method | None]) -> None:
    """Require that something can be merged where it is asked for.

    Args:
        request: What is to be measured.
        methods: Name -> method; None for the bare backbone.

    Raises:
        ConfigError: If `merged` is set and no method's update can be added to the weights.
    """
    if request.merged and not mergeable(methods.values()):
        raise ConfigError(
            "merged must be false where no method's update can be added to the backbone's weights, got "
            f"true with methods {list(methods)!r}: add lora or adalora."
        )


def mergeable(methods: Iterable[Method | None]) -> list[Method]:
    """Return those methods whose update can be added to the weights."""
    return [method for method in methods if isinstance(method, MERGEABLE)]


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _distinct(key: str, values: tuple[Any, ...]) -> None:
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{key} must list distinct values, at least one, got {list(values)!r}.")
