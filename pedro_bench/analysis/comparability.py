"""Comparability: what the runs of two cells must share, so that a difference between them is the methods'.

Records of one task and backbone are in one column by their names. A name says neither how long a run was
trained (`trainer.max_steps`), nor how long an answer could be (`task.max_new_tokens`), nor which rows it
read (`data.holdout`), nor which weights lay at `backbone.path`, nor by which version of a metric it was
scored, nor which judge graded it. Cells that differ in any of it are shown, and not compared.

Not among them is what a method sets for itself (its learning rate, its precision) and what only divides
the work into portions. Of two rows of one method the settings may differ: their names say in what. What a
record does not hold is no difference. Speed and memory have one condition more: one measurement. Other
seeds, numbers of processes and commits are listed, and compared all the same: processes divide a batch, which
moves a loss by rounding alone and dropout by chance, and a commit need not move a number. A new version of a
component does by definition.

A paper's number is compared with ours on the paper's backbone and data, where a run was trained and
answered by the paper's protocol (`departures`). RED gives rates, epochs, batches, decoding and what chooses
the best adapter for each task, so a run of its tables may have those too.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from pedro_bench import records
from pedro_bench.analysis.recorded_settings import (
    LEFT_OUT_OF_KEY,
    RATE_IN_FORCE,
    normalised,
    with_defaults_before,
)
from pedro_bench.analysis.run import Run
from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.training.config import TrainerConfig

WEIGHTS = ("path", "revision", "random_weights")
"""Settings of a backbone that say which weights it is, where a record does not name the weights."""

RUN = "run"
"""What repeats of a measurement must share."""

OTHER_PROTOCOLS, OTHER_RUNS = "different protocols", "measured in different runs"
"""What begins a reason why two cells that have runs cannot be compared."""

_DIGITS = re.compile(r"[0-9a-f]{16,}")
_MAY_DIFFER = frozenset(
    {RATE_IN_FORCE, "trainer.architecture_lr", "trainer.architecture_weight_decay"}
) | {f"trainer.{name}" for name in ("micro_batch_size", "micro_batch_tokens", "eval_batch_size")}
"""Settings that methods of one protocol may differ in: rates, and portions of the work."""

_NAMES_OF_TASK = records.NOT_IN_KEY["task"] | {"_target_"}
"""Settings of a task that are no part of a run's key; of its class the version is compared."""

_OF_OWN_ROWS = ("metric.", "evaluation.")
"""Beginnings of the components that have no part in an evaluation of a run."""

_PARTS_THAT_MAY_DIFFER = frozenset({"fingerprint", "max_length"})
"""Parts of an evaluation that are listed elsewhere (the test rows), or the method's."""

_WAYS_OF_ANSWERING = {"EvaluationConfig": "generation", "BothConfig": "generation"}
"""Class of an evaluation -> how it finds the main metric, where the class's name does not say it."""


_PROTOCOL = {
    **{
        f"trainer.{name}": value
        for name, value in asdict(TrainerConfig()).items()
        if name not in LEFT_OUT_OF_KEY["trainer"]
    },
    **{f"evaluation.{name}": value for name, value in asdict(EvaluationConfig(name="any")).items()},
    "evaluation": "generation",
}
"""Setting -> value in the paper's protocol."""

_OWN_PROTOCOL = {
    "RED": ("evaluation", "trainer.num_epochs", "trainer.batch_size", "trainer.warmup_ratio",
            "trainer.weight_decay", "trainer.max_length", "trainer.eval_every_steps",
            "trainer.eval_every_epochs", "trainer.metric_for_best_model", "trainer.patience",
            "trainer.warmup_steps", "trainer.lr_scheduler_type", "trainer.label_smoothing_factor",
            "trainer.eps", "trainer.max_grad_norm", "trainer.decays_vectors", "trainer.head_init",
            "trainer.head_dropout"),
}  # fmt: skip
"""Paper -> beginnings of the settings for which it has a protocol of its own."""

_NUM_TASKS = {"mmlu": 57, "bbh": 27}
"""Evaluation -> how many tasks it has as a whole."""

_JUDGE = "gpt-4"
"""Name of the judge of the paper's MT-Bench, as FastChat asks for it; `gpt-4o` and the like are others."""


@dataclass(frozen=True)
class Conditions:
    """What one cell's runs were made under.

    Attributes:
        method: The method's name.
        facts: Name -> what is known: a tuple of texts or JSON values, several where seeds differ, or in JSON
            the value of a setting of trainer or evaluation. An absent one is not known.
    """

    method: str
    facts: Mapping[str, Any]


def conditions_of(runs: Sequence[Run], *, is_measured: bool = False) -> Conditions | None:
    """Collect the conditions of a cell's finished runs, which share a key; None where there is none.

    `is_measured`: they are repeats of a measurement of the device.
    """
    if not runs:
        return None
    first = runs[0]
    facts: dict[str, Any] = {
        "test rows": _distinct(_short(run.fingerprint("test")) for run in runs),
        "train rows": _distinct(_short(run.fingerprint("train")) for run in runs),
        "weights": _distinct((_short_digits(first.weights),)),
        **_backbone_facts(first.config),
        **_task_facts(first.config),
        **_version_facts(first),
        "device": _distinct(run.environment.device for run in runs),
    }
    if first.evaluates is not None:
        facts |= _part_facts(first)
    if is_measured or first.is_measurement:
        facts[RUN] = _distinct(
            f"{run.key} of {run.started}, {run.environment.device_name}" for run in runs
        )
    groups = ("trainer.",) if first.evaluates is not None else ("trainer.", "evaluation.")
    for name, value in first.known.items():
        if name not in _MAY_DIFFER and name.startswith(groups):
            facts[name] = value
    if kind := _way_of_answering(first):
        facts["evaluation"] = kind
    return Conditions(first.method, {name: own for name, own in facts.items() if own != ()})


def differences(one: Conditions, other: Conditions) -> dict[str, tuple[str, str]]:
    """Return name -> what either has, for everything that both hold and in which they differ."""
    if one.facts == other.facts:
        return {}
    has_weights = one.facts.get("weights") == other.facts.get("weights", ())
    return {
        name: (", ".join(_texts(own)), ", ".join(_texts(other.facts[name])))
        for name, own in one.facts.items()
        if own != other.facts.get(name, own)
        and not (has_weights and name.startswith("backbone."))
        and (isinstance(own, tuple) or one.method != other.method)
    }


def _texts(own: Any) -> tuple[str, ...]:
    values = own if isinstance(own, tuple) else (own,)
    return tuple(one if isinstance(one, str) else text_of(one) for one in values)


def reason_against(one: Conditions | None, other: Conditions | None) -> str:
    """Return why two cells cannot be compared, empty where they can."""
    found = differences(one, other) if one and other else {}
    if RUN in found:
        return OTHER_RUNS
    found_in = [f"{name} {own} and {theirs}" for name, (own, theirs) in found.items()]
    return f"{OTHER_PROTOCOLS} ({'; '.join(found_in)})" if found_in else ""


def are_shared(cells: Iterable[Conditions | None]) -> bool:
    """Whether every two of some cells can be compared."""
    having = [one for one in cells if one is not None]
    if all(one.facts == having[0].facts for one in having):
        return True
    return not any(differences(one, other) for one, other in combinations(having, 2))


def text_of(value: Any) -> str:
    """Return a setting in words: `none` for null, else as in JSON."""
    return "none" if value is None else json.dumps(value).strip('"')


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _short(fingerprint: str | None) -> str | None:
    return fingerprint and fingerprint[:8]


def _short_digits(identity: str | None) -> str | None:
    """Return the identity of weights with long numbers by 8 digits."""
    return identity and _DIGITS.sub(lambda digits: digits[0][:8], identity)


def _backbone_facts(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    backbone = config.get("backbone")
    if not isinstance(backbone, Mapping):
        return {}
    return {f"backbone.{name}": (str(backbone.get(name) or "none"),) for name in WEIGHTS}


def _task_facts(config: Mapping[str, Any]) -> dict[str, tuple[Any]]:
    """Return the settings of a task that can move a number, also those that its rows do not show."""
    task = with_defaults_before("task", config.get("task"))
    if not isinstance(task, Mapping):
        return {}
    return {
        f"task.{name}": (normalised(value),)
        for name, value in task.items()
        if name not in _NAMES_OF_TASK
    }


def _version_facts(run: Run) -> dict[str, tuple[Any]]:
    """Return the versions of the components that made a run's numbers."""
    left_out = _OF_OWN_ROWS if run.evaluates is not None else ()
    return {
        f"version of {name}": (version,)
        for name, version in run.versions.items()
        if not name.startswith(left_out)
    }


def _way_of_answering(run: Run) -> str | None:
    """Return how a run's own test rows were answered: `generation` or `likelihood`."""
    target = dict(run.config.get("evaluation") or {}).get("_target_")
    if run.evaluates is not None or target is None:
        return None
    name = str(target).rpartition(".")[2]
    return _WAYS_OF_ANSWERING.get(name, name.removesuffix("Config").lower())


def _part_facts(run: Run) -> dict[str, tuple[str, ...]]:
    """Return every part of an evaluation's settings and data, null where it has none."""
    found: dict[str, Any] = {}
    for name, value in {**run.config["data"]["config"], **run.config["data"]["data"]}.items():
        if isinstance(value, Mapping):
            found |= {f"{run.task}.{name}.{inner}": one for inner, one in value.items()}
        elif name not in _PARTS_THAT_MAY_DIFFER:
            found[f"{run.task}.{name}"] = value
    return {name: (text_of(normalised(value)),) for name, value in found.items()}


def departures(runs: Sequence[Run], paper: str) -> list[str]:
    """Return `name=value` of all in which a cell's runs are not made as those of a paper (its short name)."""
    made = conditions_of(runs)
    if made is None:
        return []
    own = _OWN_PROTOCOL.get(paper, ())
    found = [
        f"{name}={text_of(value)}"
        for name, value in made.facts.items()
        if name in _PROTOCOL
        and not name.startswith(own)
        and text_of(value) != text_of(normalised(_PROTOCOL[name]))
    ]
    if "True" in made.facts.get("backbone.random_weights", ()):
        found.append("backbone.random_weights=true")
    return found + (_of_evaluation(runs[0], made) if runs[0].evaluates is not None else [])


def _of_evaluation(run: Run, made: Conditions) -> list[str]:
    settings: Mapping[str, Any] = run.config["data"]["config"]
    found = [f"limit={text_of(settings['limit'])}"] if settings.get("limit") else []
    tasks = settings.get("tasks") or ()
    if tasks and len(tasks) != _NUM_TASKS.get(run.task):
        found.append(f"tasks={text_of(tasks)}")
    judges = made.facts.get(f"{run.task}.judge.model", ())
    return found + [f"judge.model={one}" for one in judges if one != _JUDGE]


Sides = Mapping[str, Sequence[str]]
"""Value -> names of the rows that have it."""


def differing(cells: Mapping[str, Sequence[Run]], full_seeds: int) -> dict[str, Sides]:
    """Return everything in which the finished runs of one column should agree and do not.

    Args:
        cells: Name of the row -> its runs that are shown.
        full_seeds: Seeds that a cell should have; of a cell with fewer, missing ones are no difference.

    Returns:
        What differs -> value -> names of the rows; `seeds`, `processes` and `commits` among them.
    """
    made = {name: one for name, runs in cells.items() if (one := conditions_of(runs))}
    found = {
        **_sides_of_facts(made),
        "seeds": _sides_of_seeds(cells, full_seeds),
        "processes": _sides((name, _processes(runs)) for name, runs in cells.items()),
        "commits": _sides((name, _commits(runs)) for name, runs in cells.items()),
    }
    return {what: sides for what, sides in found.items() if len(sides) > 1}


def settings_by_task(cells: Mapping[str, Sequence[Run]]) -> dict[str, Sides]:
    """Return a row's settings of the trainer that differ by task: name -> value -> tasks."""
    trained = {
        task: runs[0].known for task, runs in cells.items() if runs and not runs[0].evaluates
    }
    found: dict[str, Sides] = {}
    first = next(iter(trained.values()), {})
    if all(own == first for own in trained.values()):
        return found
    for name in sorted({name for own in trained.values() for name in own}):
        sides = _sides((task, [text_of(own[name])]) for task, own in trained.items() if name in own)
        if name.startswith("trainer.") and len(sides) > 1:
            found[name] = sides
    return found


def _sides_of_facts(made: Mapping[str, Conditions]) -> dict[str, Sides]:
    """Return the sides of each fact; of a setting where several methods have it, as it names rows."""
    cells = list(made.values())
    names = {name: own for one in cells for name, own in one.facts.items() if name != RUN}
    if all(one.facts == cells[0].facts for one in cells):
        names = {
            name: own for name, own in names.items() if isinstance(own, tuple) and len(own) > 1
        }
    found = {}
    for name in sorted(names, key=lambda name: "" if isinstance(names[name], tuple) else name):
        having = {line: one for line, one in made.items() if name in one.facts}
        if isinstance(names[name], tuple) or len({one.method for one in having.values()}) > 1:
            found[name] = _sides((line, _texts(one.facts[name])) for line, one in having.items())
    if len(found.get("weights", ())) == 1 and all("weights" in one.facts for one in cells):
        return {name: own for name, own in found.items() if not name.startswith("backbone.")}
    return found


def _sides_of_seeds(cells: Mapping[str, Sequence[Run]], full_seeds: int) -> Sides:
    """Return the seeds of cells, without those that merely lack some of another's."""
    seeds = {name: {run.seed for run in runs} for name, runs in cells.items() if runs}
    lacking = {
        name
        for name, own in seeds.items()
        if len(own) < full_seeds and any(own < other for other in seeds.values())
    }
    return _sides((name, [ranges(own)]) for name, own in seeds.items() if name not in lacking)


def _processes(runs: Sequence[Run]) -> list[str]:
    """Return over how many processes `accelerate launch` divided runs, each number once."""
    found = {
        (run.environment.processes, run.shares > 1) for run in runs if run.environment.processes
    }
    return [
        f"{number}{' with the layers split' if is_split else ''}"
        for number, is_split in sorted(found)
    ]


def _commits(runs: Sequence[Run]) -> list[str]:
    return sorted({commit[:8] for run in runs if (commit := run.environment.commit)})


def _sides(having: Iterable[tuple[str, Iterable[str]]]) -> Sides:
    """Return value -> names, of names and the values of each."""
    sides: dict[str, list[str]] = {}
    for name, values in having:
        for value in values:
            sides.setdefault(value, []).append(name)
    return sides


def ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers in words: `0-4, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in parts)
