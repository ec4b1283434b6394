"""What is to be measured, and the workload: which prompts are read, how many tokens generated for each.

A request checks itself; nothing here imports torch.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pedro_bench import checks
from pedro_bench.data.encoding import encode
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.evaluation.config import DECODINGS
from pedro_bench.methods.adalora import AdaLora
from pedro_bench.methods.lora import Lora
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.task import DataSource, Task
from pedro_bench.records import check_name

LENGTHS = ("paper", "task")
"""Where lengths come from: drawn around the paper's means, or the test split of `task`."""

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

    Raises:
        ConfigError: If nothing can.
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


_SHAPE = 4.0
"""Shape of the gamma distribution that lengths are drawn from: standard deviation half the mean."""

_FEWEST = 2
"""Shortest prompt and answer: a first token and one more, so that both times can be measured."""


@dataclass(frozen=True)
class Item:
    """One prompt: its token ids, and how many tokens to generate, no more and no fewer."""

    ids: tuple[int, ...]
    new_tokens: int


def drawn(
    count: int, *, prompt_tokens: float, new_tokens: float, vocab_size: int, seed: int
) -> list[Item]:
    """Draw prompts of random tokens; the mean lengths are the given ones, to the nearest token in all.

    Args:
        count: Prompts, at least 1.
        prompt_tokens: Mean length of a prompt, at least 2.
        new_tokens: Mean number of generated tokens, at least 2.
        vocab_size: Token ids are below it.
        seed: Same seed, same workload.
    """
    stream = random.Random(seed)
    prompts = spread(count, prompt_tokens, stream)
    answers = spread(count, new_tokens, stream)
    return [
        Item(tuple(stream.randrange(vocab_size) for _ in range(length)), new)
        for length, new in zip(prompts, answers, strict=True)
    ]


def spread(count: int, mean: float, stream: random.Random) -> list[int]:
    """Return lengths of at least 2 whose sum is `round(count * mean)`."""
    total = max(round(count * mean), count * _FEWEST)
    weights = [stream.gammavariate(_SHAPE, 1.0) for _ in range(count)]
    room = total - count * _FEWEST
    whole = sum(weights)
    exact = [weight / whole * room for weight in weights]
    lengths = [int(part) for part in exact]
    by_rest = sorted(range(count), key=lambda index: lengths[index] - exact[index])
    for index in by_rest[: room - sum(lengths)]:
        lengths[index] += 1
    return [length + _FEWEST for length in lengths]


def batch_of(items: Sequence[Item], size: int) -> list[Item]:
    """Return `size` items, going round, that all generate the mean number of tokens.

    A batch ends together, so all of it generates as much.
    """
    if not items:
        raise DataError("a workload must have at least one prompt, got none.")
    new = max(_FEWEST, round(sum(item.new_tokens for item in items) / len(items)))
    return [Item(items[index % len(items)].ids, new) for index in range(size)]


def items_of(
    backbone: LoadedBackbone, task: Task, source: DataSource, request: Request, max_length: int
) -> list[Item]:
    """Return the first `request.prompts` rows; each answer is at least two tokens long.

    Prompts are shortened to `max_length`, or to the backbone's positions where these are fewer.

    Raises:
        DataError: If the data cannot be read.
    """
    examples = load_splits(task, source)["test"].examples[: request.prompts]
    limit = min(max_length, backbone.shape.max_positions or max_length)
    encoded = encode(backbone.tokenizer, examples, max_length=limit, with_answers=True).encoded
    return [Item(one.prompt_ids, max(_FEWEST, len(one.answer_ids))) for one in encoded]
