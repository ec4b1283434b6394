"""Turns: the same warm-ups for all, in an order that is reversed, within the room that there is."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pedro_bench.efficiency import measure
from pedro_bench.efficiency.compare import Comparison, compare
from pedro_bench.efficiency.request import Item


@pytest.mark.parametrize("warmup", [1, 3])
def test_every_system_has_the_same_warm_ups(
    warmup: int, make_comparison: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed, warm, counted = measure._timed, Counter[str](), []
    of_turn: list[int] = []

    def watched(backbone: Any, generate: Any, batch: Sequence[Item], beams: int) -> Any:
        of_turn.append(batch[0].new_tokens)
        return timed(backbone, generate, batch, beams)

    def report(line: str) -> None:
        name = ", ".join(line.split(": ")[1].split(", ")[:2])
        warm[name] += len(of_turn) - 2  # the last two are the prompts
        counted.append(of_turn[-2:])
        of_turn.clear()

    monkeypatch.setattr(measure, "_timed", watched)
    comparison = make_comparison(
        methods=["none", "pedro"],
        beams=[1],
        decoding=["plain", "static"],
        warmup=warmup,
        new_tokens=6,
    )
    compare(comparison, report)
    assert warm == dict.fromkeys(
        ("none, plain", "pedro, plain", "none, static", "pedro, static"), 2 * warmup
    ), "two repeats"
    assert len({tuple(one) for one in counted}) == 1
    assert sum(counted[0]) == 12


def test_a_warm_up_fits_where_the_answer_fits(make_comparison: Callable[..., Comparison]) -> None:
    """62 and 2 tokens fill a static cache of 64 to its end; a warm-up has no more room than that."""
    comparison = make_comparison(
        methods=["none"],
        beams=[1],
        prompts=1,
        prompt_tokens=62,
        new_tokens=2,
        decoding=["static"],
        repeats=1,
    )
    found = compare(comparison, lambda _: None)
    assert found["rows"][0]["tokens_per_second"] > 0
