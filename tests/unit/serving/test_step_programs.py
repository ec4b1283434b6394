"""Where a step is recorded, as far as a machine without a GPU can tell: what PyTorch is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from pedro_bench.serving.step_programs import recorded


class Stream:
    """Stands for a CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait_stream(self, other: "Stream") -> None:
        assert other.device == self.device


class Graph:
    """Stands for a CUDA graph."""

    def replay(self) -> None:
        """Do nothing."""


def test_on_a_cpu_a_program_is_left_as_it_is() -> None:
    def program() -> None:
        raise AssertionError

    assert recorded(program, torch.device("cpu")) is program


def test_a_recording_is_made_on_its_own_device_and_minds_no_other_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = torch.device("cuda", 1)
    entered: list[tuple[str, Any]] = []
    ran: list[list[tuple[str, Any]]] = []

    def block(name: str) -> Any:
        @contextmanager
        def within(*given: Any, **options: Any) -> Iterator[None]:
            entered.append((name, (*given, options)))
            yield
            entered.pop()

        return within

    for name in ("device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, block(name))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "set_stream", pytest.fail)
    replay = recorded(lambda: ran.append(list(entered)), device)
    assert replay.__name__ == "replay"
    *warm_ups, recording = ran
    assert len(warm_ups) == 3
    for blocks in warm_ups:
        assert [name for name, _ in blocks] == ["device", "stream"]
    assert [name for name, _ in recording] == ["device", "graph"]
    assert recording[0][1] == (device, {})
    graph, options = recording[1][1]
    assert isinstance(graph, Graph)
    assert options["stream"].device == device
    assert options["stream"] is warm_ups[0][1][1][0], "the stream that libraries were warmed up on"
    assert options["capture_error_mode"] == "thread_local"


@pytest.mark.parametrize("failing", [1, 4])
@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (torch.OutOfMemoryError("Tried to allocate 9 GiB"), torch.OutOfMemoryError),
        (ValueError("Tried to allocate nothing"), RuntimeError),
    ],
)
def test_a_lack_of_memory_in_a_recording_is_told_as_one(
    failing: int, cause: Exception, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording that was broken off cannot be ended: that is an error of its own, as a compiler's is."""
    own, current = Stream(torch.device("cuda", 0)), []

    class Covered:
        """A block that covers what happened in it with another error."""

        def __enter__(self) -> None: ...

        def __exit__(self, *_: Any) -> None:
            if calls == failing:
                raise RuntimeError("operation failed due to a previous error during capture")

    calls = 0

    def program() -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise cause

    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: Covered())
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: Covered())
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: own)
    monkeypatch.setattr(torch.cuda, "set_stream", current.append)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    with pytest.raises(RuntimeError) as raised:
        recorded(program, own.device)
    assert type(raised.value) is told
    assert ("Tried to allocate 9 GiB" in str(raised.value)) == (told is torch.OutOfMemoryError)
    assert current == [own], "a recording that cannot be ended leaves its own stream in place"
