"""Several phases of training in one run: curves, parameters, notes, and what a failure leaves behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from pedro_bench.grid import run
from pedro_bench.methods.lora import Lora
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import RunRecord
from pedro_bench.training.tracking import Tracker, Tracking


@dataclass(frozen=True, kw_only=True)
class Growing(Lora):
    """LoRA that trains once more from scratch with the next of some ranks; the last may diverge."""

    ranks: tuple[int, ...] = ()
    diverges: bool = False

    def following(self, adapter: nn.Module) -> Method | None:
        if not self.ranks:
            return None
        rank, *others = self.ranks
        return replace(self, r=rank, ranks=tuple(others))

    def extra_loss(self, adapter: nn.Module) -> Tensor | None:
        if self.ranks or not self.diverges:
            return None
        return next(adapter.parameters()).square().sum() * float("inf")


@dataclass(frozen=True, kw_only=True)
class Collecting(Tracking, Tracker):
    """Keeps the steps of the training loss, and the records that runs end with."""

    name: str = "collecting"
    steps: list[int] = field(default_factory=list)
    ends: list[RunRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        pass

    def start(self, record: RunRecord, folder: Path) -> Tracker:
        return self

    def log(self, values: Mapping[str, float], step: int) -> None:
        if "train/loss" in values:
            self.steps.append(step)

    def finish(self, record: RunRecord) -> None:
        self.ends.append(record)


@pytest.fixture
def growing(few_steps: Callable[..., Settings]) -> Callable[..., Settings]:
    """A function that gives settings of three phases with ranks 1, 2 and 3."""

    def make(seeds: str = "[0]", steps: int = 2, **changes: Any) -> Settings:
        method = Growing(
            name="lora",
            label="LoRA",
            r=1,
            alpha=2.0,
            dropout=0.0,
            roles=("query", "value"),
            ranks=(2, 3),
            **changes,
        )
        return replace(few_steps(seeds, steps), method=method, tracking=Collecting())

    return make


def test_every_phase_trains_afresh_and_the_record_is_of_the_last(
    growing: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = replace(growing(), keep_checkpoints=True)
    (record,) = run(settings)
    assert record["status"] == "finished", record["error"]
    # Rank 3 on query (32 -> 32) and value (32 -> 16) of two layers.
    assert record["parameters"]["trainable"] == 3 * 2 * (32 + 32 + 32 + 16)
    assert [phase["trainable"] for phase in record["phases"]] == [224, 448, 672]
    last = record["phases"][-1]
    assert (last["steps"], last["stopped_early"]) == (2, False)
    assert settings.tracking.steps == [1, 2, 3, 4, 5, 6]
    assert [end.as_dict() for end in settings.tracking.ends] == [record]
    (folder,) = (tmp_path / "outputs").glob("*/*--seed*")
    assert {path.name for path in folder.glob("phase-*")} == {"phase-0", "phase-1", "phase-2"}


def test_only_the_adapter_of_a_finished_run_stays(
    growing: Callable[..., Settings], tmp_path: Path
) -> None:
    run(growing())
    (folder,) = (tmp_path / "outputs").glob("*/*--seed*")
    assert [path.name for path in folder.iterdir()] == ["adapter"]


def test_a_failure_in_a_later_phase_frees_the_backbone_for_the_next_seed(
    growing: Callable[..., Settings],
) -> None:
    settings = growing("[0,1]", steps=4, diverges=True)
    found = run(settings)
    assert [record["status"] for record in found] == ["failed", "failed"]
    assert all("finite" in record["error"] for record in found), found
    assert {record["error_type"] for record in found} == {"DivergenceError"}
    assert [end.as_dict() for end in settings.tracking.ends] == found
