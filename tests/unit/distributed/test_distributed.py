"""Ranks: stale variables of launchers change nothing; processes that do not meet fail within the limit."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pedro_bench import distributed
from pedro_bench.__main__ import main
from pedro_bench.distributed import Launch, launch
from pedro_bench.errors import ConfigError

FULL = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher's variables but those a test sets, and nobody met."""
    for name in (*distributed.SET, "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(distributed, "_met", {})


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def give(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return give


@pytest.fixture
def port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "1"},
        {"RANK": "x", "LOCAL_RANK": "", "MASTER_PORT": "none"},
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": " ", "RANK": "3"},
        {"WORLD_SIZE": "1"},
        {**FULL, "WORLD_SIZE": "1"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "PMI_SIZE": "2", "PMI_RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "ACCELERATE_USE_FSDP": "true"},
    ],
)
def test_without_a_complete_set_a_process_is_alone(
    variables: dict[str, str], given: Callable[..., None]
) -> None:
    given(**variables)
    assert launch() == Launch()
    assert distributed.is_main()
    assert not distributed.is_one_of_several()
    distributed.meet(0.0)


def test_a_complete_set_is_one_of_several(given: Callable[..., None]) -> None:
    given(**FULL)
    assert launch() == Launch(1, 2, "127.0.0.1", 29500)
    assert not distributed.is_main()
    assert distributed.is_one_of_several()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "2"},
            "got WORLD_SIZE=2 without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT",
        ),
        ({**FULL, "LOCAL_RANK": ""}, "got WORLD_SIZE=2 without LOCAL_RANK: start with accelerate"),
        ({**FULL, "MASTER_PORT": " "}, "got WORLD_SIZE=2 without MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number of at least 1, got 'two'"),
        ({"WORLD_SIZE": "2.0"}, "of at least 1, got '2.0'"),
        ({"WORLD_SIZE": "-1"}, "of at least 1, got '-1'"),
        ({"WORLD_SIZE": "0"}, "of at least 1, got '0'"),
        ({**FULL, "RANK": "2"}, "RANK must be a whole number from 0 to 1, got '2'"),
        ({**FULL, "LOCAL_RANK": "a"}, "LOCAL_RANK must be a whole number from 0 to 1, got 'a'"),
        ({**FULL, "MASTER_PORT": "70000"}, "MASTER_PORT must be .* from 1 to 65535, got '70000'"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_set_that_is_no_launchers_is_refused_before_anything_is_written(
    variables: dict[str, str],
    message: str,
    flags: list[str],
    given: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given(**variables)
    assert main([*flags, "method=lora", "task=sst2"]) == 2
    with pytest.raises(ConfigError, match=message) as caught:
        launch()
    assert capsys.readouterr().err == f"error: {caught.value}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_does_not_come_is_named(given: Callable[..., None], port: str) -> None:
    given(**{**FULL, "RANK": "0", "WORLD_SIZE": "3", "MASTER_PORT": port})
    with pytest.raises(ConfigError, match=r"within 0\.5 seconds .*got 1 without rank 1, 2: start"):
        distributed.meet(0.5)


@pytest.mark.parametrize("agent", ["True", ""])
def test_nobody_at_the_place_is_told(agent: str, given: Callable[..., None], port: str) -> None:
    given(**FULL | {"MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": agent})
    missing = "the launcher" if agent else "rank 0"
    with pytest.raises(ConfigError, match=f"got no answer from {missing} .*refused") as caught:
        distributed.meet(0.5)
    assert "\n" not in str(caught.value)


def test_a_stranger_at_the_place_is_told(given: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given(**FULL | {"MASTER_PORT": str(silent.getsockname()[1])})
        started = time.monotonic()
        with pytest.raises(ConfigError, match="got no answer from rank 0"):
            distributed.meet(0.5)
        assert time.monotonic() - started < 20


@pytest.fixture
def meet_as(monkeypatch: pytest.MonkeyPatch, port: str) -> Callable[[int], threading.Thread]:
    """A function that lets a rank of two come, in a thread; what it was told is its thread's name."""
    own = threading.local()
    monkeypatch.setattr(distributed, "launch", lambda: own.launch)

    def come(rank: int) -> None:
        own.launch = Launch(rank, 2, "127.0.0.1", int(port))
        try:
            distributed.meet(30)
        except ConfigError as error:
            threading.current_thread().name = f"told: {error}"

    def start(rank: int) -> threading.Thread:
        thread = threading.Thread(target=come, args=(rank,), name="met")
        thread.start()
        return thread

    return start


def names(threads: list[threading.Thread]) -> list[str]:
    for one in threads:
        one.join(60)
    return [one.name for one in threads]


@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
def test_ranks_that_come_at_different_times_meet(
    order: tuple[int, int], meet_as: Callable[[int], threading.Thread]
) -> None:
    first = meet_as(order[0])
    time.sleep(0.5)
    assert names([first, meet_as(order[1])]) == ["met", "met"]


def test_a_second_process_of_the_same_rank_is_refused(
    meet_as: Callable[[int], threading.Thread],
) -> None:
    """As when a command is started once more with the same variables by hand."""
    found = sorted(names([meet_as(1), meet_as(1), meet_as(0)]))
    assert found[:2] == ["met", "met"]
    assert "got another process with RANK=1: start" in found[2]


def test_accelerate_sees_no_stale_variables(given: Callable[..., None]) -> None:
    stale = {
        "RANK": "1",
        "LOCAL_RANK": "abc",
        "PMI_SIZE": "2",
        "OMPI_COMM_WORLD_SIZE": "many",
        "ACCELERATE_USE_CPU": "perhaps",
        "ACCELERATE_DEBUG_MODE": "",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "x",
    }
    given(**stale)
    found = distributed.accelerator()
    assert (found.num_processes, found.process_index) == (1, 0)
    assert found.is_main_process
    assert found.gradient_accumulation_steps == 1
    assert {name: os.environ[name] for name in stale} == stale
