"""Training in phases: a method may name another to train after it, from scratch (search, then retraining).

Each phase draws its parameters from a random stream of its own and keeps its checkpoints in a folder of
its own. What comes out is the last phase's model; a run that was killed in any phase goes on in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pedro_bench.data.encoding import Encoding
from pedro_bench.nn.adapted_model import AdaptedModel, head_for
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import Phase
from pedro_bench.seeding import seed_torch
from pedro_bench.training.result import TrainResult
from pedro_bench.training.tracker import Tracker
from pedro_bench.training.trainer import train


@dataclass(frozen=True)
class Run:
    """One seed of a configuration, as its training needs it.

    Attributes:
        settings: The configuration.
        backbone: The loaded backbone, without a method.
        encodings: Split name -> encoded rows.
        seed: The seed.
        key: The run's key.
        folder: The run's working folder.
        tracker: Where curves go.
    """

    settings: Settings
    backbone: LoadedBackbone
    encodings: Mapping[str, Encoding]
    seed: int
    key: str
    folder: Path
    tracker: Tracker


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes:
        adapted: The last phase's model with its best adapter; it still sits in the backbone.
        result: The last phase's result, with the time and the highest memory of all phases.
        phases: What each phase did, for the record.
    """

    adapted: AdaptedModel
    result: TrainResult
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class _Continued(Tracker):
    """A tracker whose steps go on from the phases before, since curves may not turn back."""

    tracker: Tracker
    first_step: int

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take values at a step of this phase."""
        self.tracker.log(values, self.first_step + step)


def train_phases(run: Run) -> Trained:
    """Train all phases of the run's method.

    The backbone is left with the last phase's method in it; if training fails, with none.
    """
    head = head_for(run.backbone, run.settings.task)
    method, results, phases = run.settings.method, list[TrainResult](), list[Phase]()
    while True:
        number = len(results)
        seed_torch(run.seed, "init", number)
        adapted = AdaptedModel(run.backbone, method, head)
        try:
            first_step = sum(result.steps for result in results)
            tracker = _Continued(run.tracker, first_step)
            results.append(_train_phase(run, adapted, number, tracker))
            following = method.following(adapted.adapter)
        except BaseException:
            adapted.remove()
            raise
        phases.append(_phase(adapted, results[-1]))
        if following is None:
            break
        adapted.remove()
        method = following
    return Trained(adapted, _joined(results), tuple(phases))


def _train_phase(run: Run, adapted: AdaptedModel, phase: int, tracker: Tracker) -> TrainResult:
    return train(
        adapted,
        train=run.encodings["train"].encoded,
        dev=run.encodings["dev"].encoded,
        config=run.settings.trainer,
        official_train_rows=run.settings.task.official_rows[0],
        seed=run.seed,
        key=run.key,
        folder=run.folder,
        tracker=tracker,
        phase=phase,
    )


def _joined(results: list[TrainResult]) -> TrainResult:
    """Return the last phase's result with what all phases cost."""
    peaks = [result.peak_memory_bytes for result in results if result.peak_memory_bytes is not None]
    return replace(
        results[-1],
        train_seconds=sum(result.train_seconds for result in results),
        peak_memory_bytes=max(peaks, default=None),
    )


def _phase(adapted: AdaptedModel, result: TrainResult) -> Phase:
    return Phase(
        trainable=sum(parameter.numel() for parameter in adapted.adapter.parameters()),
        steps=result.steps,
        best_step=result.best_step,
        stopped_early=result.stopped_early,
    )
