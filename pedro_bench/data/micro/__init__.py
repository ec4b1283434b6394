"""The micro world: generated small versions of eight tasks with the fields of the real data.

`generate` is pure and deterministic: the same task, seed and `VERSION` give the same rows on every
machine. Labels are balanced exactly in each split and no two rows of a task carry the same texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from pedro_bench.data.micro import rows
from pedro_bench.errors import DataError, near_match

VERSION: Final[str] = "2"
"""Raised whenever the rows of any task change."""

_MAKERS: Final[dict[str, Callable[[Random, bool], dict[str, Any]]]] = {
    "sst2": rows.sst2,
    "boolq": rows.boolq,
    "rte": rows.rte,
    "qnli": rows.qnli,
    "copa": rows.copa,
    "record": rows.record,
    "squad": rows.squad,
    "alpaca": rows.alpaca,
}
_SIZES: Final[dict[str, int]] = {"train": 4000, "dev": 400, "test": 800}
_NOT_TEXT: Final[frozenset[str]] = frozenset({"id", "label", "answers", "output"})

TASKS: Final[tuple[str, ...]] = tuple(_MAKERS)


def generate(task: str, *, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return 4000 train, 400 dev and 800 test rows of a task, by split; another seed gives others of their kind.

    Raises:
        DataError: The task is unknown.
    """
    if task not in _MAKERS:
        raise DataError(
            f"task must be a task of the micro world, got {task!r}.{near_match(task, TASKS)}"
        )
    rng = Random(f"{VERSION}:{task}:{seed}")
    seen: set[str] = set()
    splits: dict[str, list[dict[str, Any]]] = {}
    for split, size in _SIZES.items():
        rows = [_new_row(task, rng, index % 2 == 0, seen) for index in range(size)]
        rng.shuffle(rows)
        if task == "squad":
            rows = [{**row, "id": f"{split}-{index}"} for index, row in enumerate(rows)]
        splits[split] = rows
    return splits


def _new_row(task: str, rng: Random, wanted: bool, seen: set[str]) -> dict[str, Any]:
    """Make rows until one has texts that no row before has."""
    while True:
        row = _MAKERS[task](rng, wanted)
        key = json.dumps({k: v for k, v in row.items() if k not in _NOT_TEXT})
        if key not in seen:
            seen.add(key)
            return row
