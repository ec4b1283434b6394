"""Whatever can move a speed moves the key: another machine's figures are never this one's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.efficiency import compare as comparing
from pedro_bench.efficiency import recording
from pedro_bench.efficiency.compare import Comparison, compare
from pedro_bench.efficiency.request import DEFAULTS, request_of
from tests.tiny import build_method

MACHINE: dict[str, Any] = {
    "device": "cuda",
    "device_name": "Some GPU",
    "threads": 1,
    "versions": {"python": "3", "torch": "2", "transformers": "5", "peft": "0", "accelerate": "1"},
    "code": "a",
    "commit": "a",
}
OTHERS: dict[str, dict[str, Any]] = {
    "device": {"device": "cpu"},
    "device's name": {"device_name": "Another GPU"},
    "threads": {"threads": 2},
    **{
        name: {"versions": {**MACHINE["versions"], name: "other"}}
        for name in ("torch", "transformers", "peft")
    },
}


@pytest.fixture
def key_of(tiny_folders: dict[str, Path]) -> Callable[..., str]:
    """A function that gives a key: `key_of({"threads": 2}, seed=1)`."""
    backbone = Pretrained(name="tiny", label="tiny", path=str(tiny_folders["llama"]))

    def make(
        machine: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **own: Any,
    ) -> str:
        return recording.comparison_key(
            request_of({**DEFAULTS, **own}),
            [None, build_method("pedro")],
            backbone,
            data or {"name": "paper_lengths"},
            {**MACHINE, **(machine or {})},
        )

    return make


@pytest.mark.parametrize("name", OTHERS)
def test_another_machine_has_another_key(name: str, key_of: Callable[..., str]) -> None:
    assert key_of(OTHERS[name]) != key_of()
    assert key_of({"commit": "b"}) == key_of(), "a commit says nothing that the code does not"


def test_another_request_or_prompts_have_another_key(key_of: Callable[..., str]) -> None:
    keys = [
        key_of(),
        key_of(warmup=2),
        key_of(merged=True),
        key_of(data={"name": "boolq", "max_length": 100}),
        key_of(data={"name": "boolq", "max_length": 200}),
    ]
    assert len(set(keys)) == 5


def test_the_code_that_is_timed_is_in_the_key(key_of: Callable[..., str]) -> None:
    assert key_of({"code": "a"}) != key_of({"code": "b"})


def test_the_figures_of_another_machine_are_not_read(
    make_comparison: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = make_comparison(methods=["none"], beams=[1], repeats=1)
    here = compare(comparison, lambda _: None)
    told: list[str] = []
    plain = comparing.environment
    monkeypatch.setattr(
        comparing, "environment", lambda device: {**plain(device), "device_name": "Another"}
    )
    there = compare(comparison, told.append)
    assert there["device"] == "Another"
    assert told[0].startswith("repeat 1 of 1: none")
    assert not set(here["records"]) & set(there["records"])


def test_a_processor_tells_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU: 3 GHz\n")
    monkeypatch.setattr(recording, "_CPU_INFO", info)
    assert recording.processor_name() == "Some CPU: 3 GHz"
    assert recording.environment("cpu")["device_name"] == "Some CPU: 3 GHz"
    info.unlink()
    monkeypatch.setattr(recording.platform, "processor", lambda: "")
    monkeypatch.setattr(recording.platform, "machine", lambda: "abc64")
    assert recording.processor_name() == "abc64"


def test_the_peers_version_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    import peft

    assert recording.environment("cpu")["versions"]["peft"] == peft.__version__
    monkeypatch.setattr(recording.systems, "has_peft", lambda: False)
    assert "peft" not in recording.environment("cpu")["versions"]
