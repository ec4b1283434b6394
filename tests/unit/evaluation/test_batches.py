"""Batches by length, padding on either side, and a lack of memory answered with the setting."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pedro_bench.errors import ConfigError, TrainingError
from pedro_bench.evaluation.batches import by_length, evaluating, padded

CPU = torch.device("cpu")


def test_by_length_is_longest_first_and_stable() -> None:
    assert by_length([3, 9, 3, 1, 9], 2) == [[1, 4], [0, 2], [3]]
    assert by_length([], 2) == []
    for batch_size in (0, -1, 2.0, True, None, "2"):
        with pytest.raises(
            ConfigError, match="^batch_size must be a whole number of at least 1, got"
        ):
            by_length([3, 9], batch_size)  # type: ignore[arg-type]


def test_padded_on_both_sides() -> None:
    left, mask = padded([[5, 6], [7]], 0, left=True, device=CPU)
    assert left.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[True, True], [False, True]]
    right, mask = padded([[5, 6], [7]], 9, left=False, device=CPU)
    assert right.tolist() == [[5, 6], [7, 9]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_a_token_equal_to_the_padding_stays_a_token() -> None:
    _, mask = padded([[0, 6], [0]], 0, left=True, device=CPU)
    assert mask.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(("batch_size", "remedy"), [(32, "set it to 16"), (1, "take fewer beams")])
def test_lack_of_memory_names_the_setting_and_the_argument(
    batch_size: int, remedy: str, error: Exception
) -> None:
    module = nn.Linear(1, 1)
    seen = []

    def run_out_of_memory() -> None:
        adapted: Any = SimpleNamespace(modules=module.modules)
        with evaluating(adapted, batch_size):
            seen.append(module.training)
            raise error

    message = (
        r"^batch_size \(of a run: evaluation\.batch_size\) must be small enough .*"
        rf"got {batch_size}: {remedy}\.$"
    )
    with pytest.raises(TrainingError, match=message):
        run_out_of_memory()
    assert seen == [False]
    assert module.training


def test_another_error_stays_as_it_is() -> None:
    module = nn.Linear(1, 1)
    adapted: Any = SimpleNamespace(modules=module.modules)
    with pytest.raises(RuntimeError, match=r"^shapes$"), evaluating(adapted, 1):
        raise RuntimeError("shapes")
    assert module.training
