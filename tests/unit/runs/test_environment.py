"""Threads follow the backbone's size, unless the caller has set them."""

from collections.abc import Iterator

import pytest
import torch

from pedro_bench.runs import environment
from pedro_bench.runs.environment import SMALL_PARAMETERS, fit_threads


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment._threads_at_start.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)
    environment._threads_at_start.cache_clear()


def test_a_small_backbone_on_the_cpu_gets_one_thread_and_the_next_large_one_all() -> None:
    given = []
    for parameters, device in (
        (SMALL_PARAMETERS - 1, "cpu"),
        (SMALL_PARAMETERS, "cpu"),
        (SMALL_PARAMETERS - 1, "cpu"),
        (SMALL_PARAMETERS - 1, "cuda:0"),
    ):
        fit_threads(parameters, device)
        given.append(torch.get_num_threads())
    assert given == [1, 3, 1, 3]


def test_the_callers_number_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    fit_threads(1, "cpu")
    assert torch.get_num_threads() == 3
