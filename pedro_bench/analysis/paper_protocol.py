"""The protocol of a paper: in what the runs of a cell are not made as the paper's.

A paper's number is compared with ours on the paper's backbone and data, where a run was trained and
answered by the paper's protocol. That is the default of every setting of trainer and evaluation. RED gives
rates, epochs, batches, decoding and what chooses the best adapter for each task, so a run of its tables may
have those too. An evaluation (MMLU, BBH, MT-Bench) must be whole, and graded by the paper's judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pedro_bench.analysis.conditions import WAY_OF_ANSWERING, Conditions, conditions_of
from pedro_bench.analysis.recorded_settings import LEFT_OUT_OF_KEY, normalised, text_of
from pedro_bench.analysis.run import Run
from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.training.config import TrainerConfig

_PROTOCOL = {
    **{
        f"trainer.{name}": value
        for name, value in asdict(TrainerConfig()).items()
        if name not in LEFT_OUT_OF_KEY["trainer"]
    },
    **{f"evaluation.{name}": value for name, value in asdict(EvaluationConfig(name="any")).items()},
    WAY_OF_ANSWERING: "generation",
}
"""Setting -> value in the papers' protocol."""

_GIVEN_BY_TASK = {
    "RED": ("evaluation", "trainer.num_epochs", "trainer.batch_size", "trainer.warmup_ratio",
            "trainer.weight_decay", "trainer.max_length", "trainer.eval_every_steps",
            "trainer.eval_every_epochs", "trainer.metric_for_best_model", "trainer.patience",
            "trainer.warmup_steps", "trainer.lr_scheduler_type", "trainer.label_smoothing_factor",
            "trainer.eps", "trainer.max_grad_norm", "trainer.decays_vectors", "trainer.head_init",
            "trainer.head_dropout"),
}  # fmt: skip
"""Paper -> beginnings of the settings that it gives for each task, so that no value departs from it."""

_NUM_TASKS = {"mmlu": 57, "bbh": 27}
"""Evaluation -> how many tasks it has as a whole."""

_JUDGE = "gpt-4"
"""Name of the judge of the paper's MT-Bench, as FastChat asks for it; `gpt-4o` and the like are others."""


def departures(runs: Sequence[Run], paper: str) -> list[str]:
    """Return `name=value` of all in which a cell's runs are not made as those of a paper (its short name)."""
    made = conditions_of(runs)
    if made is None:
        return []
    found = _of_settings(made, _GIVEN_BY_TASK.get(paper, ()))
    if "True" in made.facts.get("backbone.random_weights", ()):
        found.append("backbone.random_weights=true")
    if runs[0].evaluates is not None:
        found += _of_evaluation(runs[0], made)
    return found


def _of_settings(made: Conditions, given_by_task: tuple[str, ...]) -> list[str]:
    """Return the settings of trainer and evaluation that depart, without those given for each task."""
    return [
        f"{name}={text_of(value)}"
        for name, value in made.settings.items()
        if name in _PROTOCOL
        and not name.startswith(given_by_task)
        and text_of(value) != text_of(normalised(_PROTOCOL[name]))
    ]


def _of_evaluation(run: Run, made: Conditions) -> list[str]:
    """Return what an evaluation leaves out, and judges that are not the paper's."""
    settings: Mapping[str, Any] = run.config["data"]["config"]
    found = [f"limit={text_of(settings['limit'])}"] if settings.get("limit") else []
    tasks = settings.get("tasks") or ()
    if tasks and len(tasks) != _NUM_TASKS.get(run.task):
        found.append(f"tasks={text_of(tasks)}")
    judges = made.facts.get(f"{run.task}.judge.model", ())
    return found + [f"judge.model={one}" for one in judges if one != _JUDGE]
