"""Golden traces: short fixed runs on the micro backbone whose numbers are stored beside their versions.

A trace goes through the whole of a run (splits, encoding, training, decoding, scoring), on few rows and few
steps. `python -m tests.golden` writes them (`make golden`); `test_golden.py` compares.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.options import options
from pedro_bench.data.encoding import encode
from pedro_bench.data.micro import generate
from pedro_bench.data.micro_source import MicroSource
from pedro_bench.data.splits import load_splits, make_splits
from pedro_bench.grid import run
from pedro_bench.protocols.settings import Settings, build_group
from pedro_bench.protocols.task import Located, Task
from pedro_bench.runs.identity import run_key, versions
from pedro_bench.training.config import TrainerConfig

FOLDER = Path(__file__).parent
ROWS = FOLDER.parent / "data" / "tasks"
TOLERANCE = 1e-4
"""Relative difference up to which two numbers are the same, so that another processor passes."""
LOOSE: Mapping[str, float] = {"precision": 1e-2}
"""Trace -> its own tolerance: bfloat16 has three digits, and processors round its sums differently."""

FEW = {"train": 24, "dev": 8, "test": 5}
SHORT = (
    "trainer.max_steps=4",
    "trainer.batch_size=4",
    "trainer.eval_batch_size=8",
    "trainer.eval_every_steps=2",
    "trainer.warmup_ratio=0.25",
    "seeds=[0]",
)
TRAINERS: Mapping[str, tuple[str, ...]] = {
    "lr": ("trainer.lr=0.02",),
    "weight_decay": ("trainer.weight_decay=0.5",),
    "beta1": ("trainer.beta1=0.1",),
    "beta2": ("trainer.beta2=0.1",),
    "eps": ("trainer.eps=0.01",),
    "lr_scheduler_type": ("trainer.lr_scheduler_type=cosine",),
    "warmup_ratio": ("trainer.warmup_ratio=0.75",),
    "warmup_steps": ("trainer.warmup_steps=3",),
    "label_smoothing_factor": ("trainer.label_smoothing_factor=0.1",),
    "num_epochs": ("trainer.max_steps=null", "trainer.num_epochs=1"),
    "max_steps": ("trainer.max_steps=3",),
    "batch_size": ("trainer.batch_size=3",),
    "group_by_length": ("trainer.group_by_length=false",),
    "micro_batch_size": ("trainer.micro_batch_size=2",),
    "micro_batch_tokens": ("trainer.micro_batch_tokens=120",),
    "eval_batch_size": ("trainer.eval_batch_size=3",),
    "metric_for_best_model": (
        "trainer.metric_for_best_model=main_metric",
        "trainer.eval_every_steps=1",
    ),
    "eval_rows": ("trainer.eval_rows=2", "trainer.eval_every_steps=1"),
    "max_length": ("trainer.max_length=40",),
    "eval_every_steps": ("trainer.eval_every_steps=1",),
    "eval_every_epochs": (
        "trainer.eval_every_epochs=1",
        "trainer.max_steps=null",
        "trainer.num_epochs=2",
    ),
    "patience": ("trainer.patience=1", "trainer.eval_every_steps=1", "trainer.lr=0.5"),
    "max_grad_norm": ("trainer.max_grad_norm=0.01",),
    "decays_vectors": ("method=red", "trainer.weight_decay=0.5", "trainer.decays_vectors=true"),
    "head_init": ("backbone=tiny_roberta", "trainer.head_init=pytorch"),
    "head_dropout": ("backbone=tiny_roberta", "trainer.head_dropout=0.5"),
    "precision": ("trainer.precision=bf16",),
    "architecture_lr": ("method=pedro", "trainer.architecture_lr=0.05"),
    "architecture_weight_decay": ("method=pedro", "trainer.architecture_weight_decay=0.9"),
}
"""Setting of the trainer -> what a trace of it is run with; `method=lora` unless another is named."""

EVALUATIONS: Mapping[str, tuple[str, ...]] = {
    "greedy": ("evaluation.num_beams=1",),
    "beams": ("evaluation.num_beams=4",),
    "length_penalty": ("evaluation.length_penalty=0.2",),
    "no_repeat_ngram_size": ("evaluation.no_repeat_ngram_size=1",),
    "likelihood": ("evaluation=likelihood", "task=boolq"),
    "length_normalised": (
        "evaluation=likelihood",
        "evaluation.length_normalised=true",
        "task=copa",
    ),
    "both": ("evaluation=both", "task=boolq"),
}
"""Name -> what a trace of an evaluation is run with; `task=squad` unless another is named."""

UNSEEN = ("mnli", "mrpc", "cola", "qqp", "stsb", "e2e", "ultrafeedback")
"""Tasks without micro data; their rows are those of tests/data/tasks."""


@dataclass(frozen=True, kw_only=True)
class FewRows(MicroSource):
    """The first rows of each micro split."""

    def read(self, task: Task) -> dict[str, list[Located]]:
        """Return FEW rows of each split."""
        return {
            split: [Located(row, f"{split} {i}") for i, row in enumerate(rows[: FEW[split]], 1)]
            for split, rows in _micro_rows(task.name, self.seed).items()
        }


@cache
def _micro_rows(task: str, seed: int) -> dict[str, list[dict[str, Any]]]:
    return generate(task, seed=seed)


def settings(*arguments: str) -> Settings:
    """Compose a configuration whose rows are few."""
    return settings_of([*SHORT, "data._target_=tests.golden.traces.FewRows", *arguments])


def trace_of(*arguments: str) -> dict[str, Any]:
    """Run a short configuration and return its versions and what it gave."""
    with TemporaryDirectory() as folder:
        found = settings(*arguments, f"results_dir={folder}/r", f"output_dir={folder}/o")
        (record,) = run(found)
        if record["status"] != "finished":
            raise RuntimeError(record["error"])
        name = f"{folder}/r/runs/main/{record['predictions']['path']}"
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    return {
        "versions": versions(found),
        "trace": {
            "history": record["history"],
            "best_step": record["best_step"],
            "parameters": record["parameters"],
            "metrics": record["metrics"],
            "predictions": [json.loads(line) for line in lines],
        },
    }


def task_trace(name: str) -> dict[str, Any]:
    """Return what a task makes of fixed rows, and how it scores fixed answers."""
    source = "data=hub" if name in UNSEEN else "data=micro"
    found = settings_of([f"task={name}", source])
    task = found.task
    if name in UNSEEN:
        held = json.loads((ROWS / f"{name}.json").read_text(encoding="utf-8"))
        rows = [held["row"], *held.get("more", []), *held["same"]]
        examples = [task.example(row) for row in rows]
        prints: dict[str, str] = {}
    else:
        splits = load_splits(task, found.data)
        examples = list(splits["test"].examples[:6])
        prints = {one: splits[one].fingerprint for one in ("train", "dev", "test")}
    answers = [one.golds[0] for one in examples]
    wrong = [*answers[1:], answers[0]]
    mixed = [wrong[i] if i % 3 == 1 else answers[i] for i in range(len(answers))]
    said = [
        task.extract(f" {text}\nand more", one) for text, one in zip(mixed, examples, strict=True)
    ]
    encoded = encode(_tokenizer(), examples, max_length=48, with_answers=True)
    return {
        "versions": versions(found),
        "trace": {
            "splits": prints,
            "examples": [[one.prompt, one.answer, list(one.golds)] for one in examples[:2]],
            "ids": [[list(one.prompt_ids), list(one.answer_ids)] for one in encoded.encoded[:2]],
            "shortened": [encoded.truncated, encoded.lost_answers, encoded.cut_answers],
            "answers": said,
            "scores": task.score(said, examples),
            "perfect": task.score(answers, examples),
        },
    }


@cache
def _tokenizer() -> Any:
    return settings_of([]).backbone.load_tokenizer()


def split_trace(rule: str) -> dict[str, Any]:
    """Return how a rule divides numbered rows."""
    config = settings_of(["task=sst2", "data=micro"])
    task = build_group(
        "task",
        {**config.resolved_config["task"], "split_rule": rule, "dev_rows": 7},
    )

    def rows(name: str, number: int) -> list[Located]:
        return [
            Located({"sentence": f"{name} {i // 2}", "label": i % 2}, f"{name} {i}")
            for i in range(number)
        ]

    names = {"train_only": ("train",), "given": ("train", "dev", "test")}
    pools = names.get(rule, ("train", "validation"))
    found = make_splits(task, {name: rows(name, 40) for name in pools}, holdout=None)
    return {
        "versions": {"splits": versions(config)["splits"]},
        "trace": {
            name: [one.prompt for one in found[name].examples] for name in ("train", "dev", "test")
        },
    }


def keys() -> dict[str, str]:
    """Return the keys of runs on the micro backbone: every method on BoolQ, and PEDRO on every task."""
    runs = [[f"method={name}", "task=boolq"] for name in sorted(options("method"))]
    runs += [[f"task={name}"] for name in sorted(set(options("task")) - set(UNSEEN))]
    runs += [["task=sst2", *extra] for extra in (["evaluation=both"], ["data.seed=1"])]
    return {" ".join(run): run_key(settings_of([*run, "device=cpu"])) for run in runs}


def makers() -> dict[str, dict[str, Callable[[], dict[str, Any]]]]:
    """Return, for each file of traces, name -> a function that makes the trace."""
    return {
        "methods": {
            name: partial(trace_of, f"method={name}", "task=boolq") for name in options("method")
        },
        "tasks": {name: partial(task_trace, name) for name in options("task")},
        "trainers": {
            name: partial(trace_of, "method=lora", "task=boolq", *given)
            for name, given in TRAINERS.items()
        },
        "evaluations": {
            name: partial(trace_of, "method=lora", "task=squad", *given)
            for name, given in EVALUATIONS.items()
        },
        "splits": {
            rule: partial(split_trace, rule)
            for rule in ("halves", "holdout", "by_size", "from_validation", "train_only", "given")
        },
    }


def untraced_settings() -> set[str]:
    """Return the trainer's settings that can move a number and have no trace."""
    names = {part.name for part in fields(TrainerConfig)} - TrainerConfig.moves_no_number
    return names - set(TRAINERS)


def stored(file: str) -> dict[str, Any]:
    """Read a file of traces; empty where there is none."""
    path = FOLDER / f"{file}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def differences(old: Any, new: Any, tolerance: float = TOLERANCE, place: str = "") -> Iterator[str]:
    """Yield where two traces differ by more than a tolerance, as `history.1.dev_loss: 0.5 -> 0.6`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            if name in old and name in new:
                yield from differences(
                    old[name], new[name], tolerance, f"{place}.{name}".strip(".")
                )
            else:
                yield f"{place}.{name}: only {'before' if name in old else 'now'}".strip(".")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, tolerance, f"{place}.{index}".strip("."))
    elif isinstance(old, int | float) and isinstance(new, int | float):
        if not math.isclose(old, new, rel_tol=tolerance, abs_tol=1e-7):
            yield f"{place}: {old} -> {new}"
    elif old != new:
        yield f"{place}: {old!r} -> {new!r}"


def drift(old: Any, new: Any) -> dict[str, Any]:
    """Return the greatest relative difference between two traces, and whether a text is another one."""
    sizes, texts = [0.0], []
    for one, other in _pairs(old, new):
        if isinstance(one, int | float) and isinstance(other, int | float):
            if one != other:
                sizes.append(abs(one - other) / max(abs(one), abs(other)))
        elif one != other:
            texts.append(f"{one!r} -> {other!r}")
    return {"relative": max(sizes), "texts": texts[:3]}


def _pairs(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from _pairs(old.get(name), new.get(name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for one, other in zip(old, new, strict=True):
            yield from _pairs(one, other)
    else:
        yield old, new


def verdict(file: str, name: str, found: Mapping[str, Any], old: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a trace, in one sentence, or None."""
    if not old:
        return f"trace {name} of tests/golden/{file}.json must be stored: run make golden."
    moved = list(differences(old["trace"], found["trace"], LOOSE.get(name, TOLERANCE)))
    raised = {
        one: (old["versions"].get(one), number)
        for one, number in found["versions"].items()
        if old["versions"].get(one) != number
    }
    if raised:
        told = ", ".join(f"{one} {a} -> {b}" for one, (a, b) in raised.items())
        return f"trace {name} of tests/golden/{file}.json is of other versions ({told}): run make golden."
    if moved:
        return (
            f"trace {name} of tests/golden/{file}.json must not move while its versions stay "
            f"({', '.join(f'{one} {number}' for one, number in found['versions'].items())}), got "
            f"{len(moved)} differences, such as {'; '.join(moved[:3])}: undo the change, or raise the "
            f"version of {_suspect(file, found['versions'])} and run make golden."
        )
    return None


def _suspect(file: str, known: Mapping[str, int]) -> str:
    """Name the component whose version is to be raised if this file's traces alone have moved."""
    if file == "methods":
        (method,) = (one for one in known if one.startswith("method."))
        return f"{method} (if traces of other methods moved too: of the part they share)"
    kinds = {"trainers": "trainer", "splits": "splits"}
    if file in kinds:
        return kinds[file]
    prefix = {"tasks": ("task.", "metric."), "evaluations": ("evaluation.",)}[file]
    own = " or ".join(sorted(one for one in known if one.startswith(prefix)))
    return own if file != "tasks" else f"{own}, or `version` of the task's YAML, or encoding"
