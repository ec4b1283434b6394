"""Training in phases, and the predictions of what comes out of the last one.

A method may name another to train after it, from scratch (search, then retraining). Each phase draws its
parameters from a random stream of its own and keeps its checkpoints in a folder of its own; a run that was
killed in any phase goes on in it. Predictions, one line a test example:

    {"index": row of the split, "prediction": answer, "text": what was generated, "score": percent}

Where answers were ranked, `likelihood` is the likeliest candidate. `score` is the example's share in the
task's main metric: the mean of all scores is that metric. Where a task's main metric is no mean over examples
(Matthews, Pearson, BLEU), rows have no `score`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench.data.encoding import Encoding
from pedro_bench.nn.adapted_model import AdaptedModel, head_for
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.settings import Settings
from pedro_bench.protocols.task import Example, Task
from pedro_bench.records import Phase
from pedro_bench.runs.preparation import DevScore
from pedro_bench.seeding import seed_torch
from pedro_bench.training.state import TrainResult
from pedro_bench.training.tracking import Tracker
from pedro_bench.training.trainer import train

if TYPE_CHECKING:
    from pedro_bench.evaluation.prediction import Prediction


@dataclass(frozen=True)
class RunInputs:
    """One seed of a configuration, as training needs it.

    `encodings` are by split, `folder` is its own, `dev_score` is there where the main metric decides.
    """

    settings: Settings
    backbone: LoadedBackbone
    encodings: Mapping[str, Encoding]
    seed: int
    key: str
    folder: Path
    tracker: Tracker
    dev_score: DevScore | None = None


@dataclass(frozen=True)
class Trained:
    """What training left: the last phase's model with its best adapter, still in the backbone.

    `result` is the last phase's, with the time and highest memory of all phases; `phases` is for the record.
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


def train_phases(run: RunInputs) -> Trained:
    """Train all phases of the run's method.

    The backbone is left with the last phase's method in it; if training fails, with none.
    """
    head = head_for(run.backbone, run.settings.task)
    method, results, phases = run.settings.method, list[TrainResult](), list[Phase]()
    trainer = run.settings.trainer
    while True:
        number = len(results)
        seed_torch(run.seed, "init", number)
        adapted = AdaptedModel(
            run.backbone,
            method,
            head,
            head_init=trainer.head_init,
            head_dropout=trainer.head_dropout,
        )
        try:
            adapted.check_count()
            first_step = sum(result.steps for result in results)
            tracker = _Continued(run.tracker, first_step)
            results.append(_train_phase(run, adapted, number, tracker))
            following = method.following(adapted.adapter)
            if method.is_searching and following is None:
                adapted.check_count(is_last=True)
        except BaseException:
            adapted.remove()
            raise
        phases.append(_phase(adapted, results[-1]))
        if following is None:
            break
        adapted.remove()
        method = following
    return Trained(adapted, _joined(results), tuple(phases))


def _train_phase(
    run: RunInputs, adapted: AdaptedModel, phase: int, tracker: Tracker
) -> TrainResult:
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
        dev_score=partial(run.dev_score.of, adapted) if run.dev_score else None,
        lower_is_better=run.settings.task.lower_is_better,
    )


def _joined(results: list[TrainResult]) -> TrainResult:
    """Return the last phase's result with what all phases cost."""
    joules = [result.train_joules for result in results]
    peaks = [result.peak_memory_bytes for result in results if result.peak_memory_bytes is not None]
    return replace(
        results[-1],
        train_seconds=sum(result.train_seconds for result in results),
        train_joules=None if None in joules else math.fsum(one or 0.0 for one in joules),
        peak_memory_bytes=max(peaks, default=None),
    )


def _phase(adapted: AdaptedModel, result: TrainResult) -> Phase:
    return Phase(
        trainable=sum(parameter.numel() for parameter in adapted.adapter.parameters()),
        steps=result.steps,
        best_step=result.best_step,
        stopped_early=result.stopped_early,
    )


_AGREES = 1e-9
"""Relative difference up to which the mean of the examples' scores is the metric."""


def prediction_lines(task: Task, found: "Prediction", examples: Sequence[Example]) -> str:
    """Return the predictions file: one JSON object a line, in order of the split's rows."""
    rows: list[dict[str, Any]] = [
        {"index": index, "prediction": answer, "text": text}
        for index, (answer, text) in enumerate(zip(found.answers, found.texts, strict=True))
    ]
    if found.ranked is not None:
        rows = [{**row, "likelihood": one} for row, one in zip(rows, found.ranked, strict=True)]
    shares = example_scores(task, found.answers, examples, found.scores[task.main_metric])
    if shares is not None:
        rows = [{**row, "score": score} for row, score in zip(rows, shares, strict=True)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def example_scores(
    task: Task, answers: Sequence[str], examples: Sequence[Example], total: float
) -> list[float] | None:
    """Score every example alone with the task's own metric, in its unit; `total` is that of all.

    None where the task says that its main metric is no mean over examples, or where the mean of the scores is
    not `total` although it does.
    """
    if not task.is_mean_over_examples:
        return None
    scores = [
        float(task.score([answer], [example])[task.main_metric])
        for answer, example in zip(answers, examples, strict=True)
    ]
    mean = math.fsum(scores) / len(scores)
    return scores if math.isclose(mean, total, rel_tol=_AGREES, abs_tol=_AGREES) else None
