"""The schema: one type for the record of a run, one for the record of an evaluation.

A fact is a field; `notes` are for people and nothing reads them. `check` says what the types cannot (known
status, names that stay in their folder, a score where a run is finished). Records of schema 1, which had four
facts in sentences (the backbone's weights, shortened prompts, phases, processes that share the backbone), are
converted when they are read.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import checks
from pedro_bench.errors import RecordError, near_match

SCHEMA = 2
"""Raised when a field changes its meaning; readers convert what is older and refuse what is newer."""

STATUSES = ("finished", "failed", "running")

VOLATILE = ("timing", "memory", "energy", "environment", "started", "finished")
"""Fields that two runs of the same key may differ in; all others are equal bit for bit."""

NOT_IN_KEY: Mapping[str, frozenset[str]] = {
    "method": frozenset({"name", "label", "lr", "tuned"}),
    "task": frozenset({"name", "label", "hub_id", "hub_config", "hub_revision", "official_rows"}),
    "evaluation": frozenset({"name", "batch_size", "forgetting"}),
}
"""Group of a configuration -> settings that move no number, or whose effect stands in the key otherwise."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Split(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One split of a run's data.

    Attributes:
        rows: Number of rows.
        fingerprint: SHA-256 over prompts and gold answers, in order.
        shortened: Prompts that were shortened to fit into the record's `max_tokens`.
        lost_answers: Shortened prompts that no longer hold their gold answer.
        cut_answers: Answers that were cut at their end.
    """

    rows: int | None = None
    fingerprint: str | None = None
    shortened: int = 0
    lost_answers: int = 0
    cut_answers: int = 0


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of training: a search, or the training that is scored.

    Attributes:
        trainable: Parameters that it trained; None where an older record does not say.
        steps: Optimiser steps taken.
        best_step: Step of the checkpoint that was kept; None where an older record does not say.
        stopped_early: Whether it ended because no evaluation was better any more.
    """

    trainable: int | None
    steps: int
    best_step: int | None
    stopped_early: bool


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run: one configuration with one seed.

    Attributes:
        schema: Version of this schema.
        key: Twelve hexadecimal digits from `run_key`; the seed is not part of it.
        status: One of STATUSES; a failed record has its `error`.
        method: Name of the method; `task`, `backbone` and `data` likewise.
        suite: Folder the record lies in.
        seed: The run's seed, 0 or more.
        config: The resolved configuration, defaults included.
        versions: Component -> its version, as in the key.
        weights: Identity of the backbone's weights: `sha256:` of a folder, or a commit of the Hub.
        main_metric: The metric that tables show, such as `accuracy`.
        parameters: `matrices`, `trainable` and `total` counts.
        max_tokens: Most tokens of prompt and answer together, None where an older record does not say.
        splits: Split name -> `Split`.
        history: One mapping for each evaluation during training: `step`, `dev_loss` and so on.
        phases: The phases of training, the scored one last.
        best_step: Optimiser step of the checkpoint that was scored.
        metrics: Split name -> metric name -> value.
        forgetting: Loss on plain text in nats a token, `before` on the bare backbone and `after` with the
            adapter, their difference `rise`, and the number of `tokens`; None where it was not asked for.
        operations: Floating-point operations of a pass over a prompt of `tokens` tokens: those of the bare
            `backbone`, and what the `method` adds; None where they were not counted.
        predictions: `path` relative to the record's folder, and the file's `sha256`.
        shares: Processes that the backbone's layers were split over.
        timing: Seconds and tokens per second.
        memory: Peak bytes, and those of the saved adapter.
        energy: `train_joules`, and `of` what: `gpu` or `processors`; None where the device does not count.
        environment: Versions of libraries, device, threads, hash of the code, commit, state of the tree.
        notes: Sentences for people.
        started: Time in ISO 8601 with its zone; `finished` likewise, None while running.
        error: One sentence of what went wrong, None otherwise.
        error_type: Class of that error, such as `DivergenceError`; None where an older record does not say.
    """

    schema: int = SCHEMA
    key: str
    status: str
    method: str
    task: str
    backbone: str
    data: str
    suite: str
    seed: int
    config: dict[str, Any]
    versions: dict[str, int] = {}
    weights: str | None = None
    main_metric: str
    parameters: dict[str, int] = {}
    max_tokens: int | None = None
    splits: dict[str, Split] = {}
    history: list[dict[str, Any]] = []
    phases: list[Phase] = []
    best_step: int | None = None
    metrics: dict[str, dict[str, float]] = {}
    forgetting: dict[str, float] | None = None
    operations: dict[str, int] | None = None
    predictions: dict[str, str] | None = None
    shares: int = 1
    timing: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    energy: dict[str, Any] | None = None
    environment: dict[str, Any] = {}
    notes: list[str] = []
    started: str
    finished: str | None = None
    error: str | None = None
    error_type: str | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def stem(self) -> str:
        """File name without its ending; predictions and working files share it."""
        return stem_of(self.method, self.task, self.backbone, self.key, self.seed)

    @property
    def is_measurement(self) -> bool:
        """Whether it is of a measurement of speed and memory: nothing was trained, no adapter is left."""
        return is_measurement(self.config)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types, in the schema's order."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def changed(self, **fields: Any) -> "RunRecord":
        """Return the record with other values in some fields."""
        return msgspec.structs.replace(self, **fields)


class EvaluationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finished evaluation of one run, such as MMLU.

    Attributes:
        schema: Version of this schema.
        key: Twelve hexadecimal digits.
        suite: A suite of `cli.instruct`, such as `mmlu` or `mt_bench`.
        run: `suite`, `stem`, `method`, `task`, `backbone`, `key` and `seed` of the run.
        config: The evaluation's settings, defaults included.
        data: `fingerprint` of the rows and their number.
        metrics: Metric -> value over the whole suite.
        parts: Task or category -> its metrics and rows.
        files: Kind -> `path` relative to the record's folder, and `sha256`.
        shortened: Contexts that lost tokens to fit the model.
        notes: Sentences for people.
        timing: Seconds.
        memory: Peak bytes.
        environment: Versions, device, git commit.
        started: Time in ISO 8601; `finished` likewise.
    """

    schema: int = SCHEMA
    key: str
    suite: str
    run: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, float]
    parts: dict[str, dict[str, Any]]
    files: dict[str, dict[str, str]]
    shortened: int = 0
    notes: list[str] = []
    timing: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    started: str
    finished: str

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types, in the schema's order."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def check(record: RunRecord) -> None:
    """Require what types do not say.

    Raises:
        RecordError: If a name could leave its folder, the seed is negative, the status unknown, a failed run
            has no sentence, a finished one no score, or a number is not finite.
    """
    if record.status not in STATUSES:
        raise RecordError(
            f"a record must have a known status, got {record.status!r}."
            + near_match(str(record.status), STATUSES)
        )
    check_name("suite", record.suite)
    check_name("data.name", record.data)
    stem_of(record.method, record.task, record.backbone, record.key, record.seed)
    if record.status == "failed" and not record.error:
        raise RecordError("a record must have a sentence in the field 'error', as it failed.")
    if record.status == "finished" and record.main_metric not in record.metrics.get("test", {}):
        raise RecordError(
            f"a record must have its main metric {record.main_metric!r} in metrics.test, got none."
        )
    for split, scores in record.metrics.items():
        for name, value in scores.items():
            if not math.isfinite(value):
                raise RecordError(f"metrics.{split}.{name} must be a finite number, got {value!r}.")


def is_measurement(config: Mapping[str, Any]) -> bool:
    """Whether a recorded configuration is that of a measurement of speed and memory, not of a training.

    `cli.efficiency` leaves its request in it.
    """
    return "efficiency" in config


def is_name(value: Any) -> bool:
    """Whether a value is safe in a file name, of records as of tables and figures."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def check_name(key: str, value: Any) -> None:
    """Require a name that is safe in a file name: it cannot leave its folder.

    Raises:
        RecordError: If `value` has other characters than letters, digits, `_`, `.` and `-`, or
            begins with a dot or a dash.
    """
    if not is_name(value):
        raise RecordError(
            f"{key} must be a name of letters, digits, '_', '.' and '-' that begins with a letter, "
            f"digit or '_', got {value!r}{checks.quoting(key, value)}."
        )


def stem_of(method: str, task: str, backbone: str, key: str, seed: int) -> str:
    """Return `<method>--<task>--<backbone>--<key>--seed<n>`.

    Raises:
        RecordError: If a name is unsafe or the seed is no whole number of at least 0.
    """
    for name, value in (("method", method), ("task", task), ("backbone", backbone), ("key", key)):
        check_name(f"{name}.name" if name != "key" else name, value)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RecordError(f"seed must be a whole number of at least 0, got {seed!r}.")
    return f"{method}--{task}--{backbone}--{key}--seed{seed}"


def key_of(path: Path) -> str:
    """Return the key in the name of a record's file, from its end: a method's name may hold `--` itself."""
    return path.stem.rsplit("--", 2)[1]


def comparable(record: RunRecord) -> Mapping[str, Any]:
    """Return what two runs of the same key and seed must agree on, bit for bit."""
    return {name: value for name, value in record.as_dict().items() if name not in VOLATILE}


_WEIGHTS = re.compile(r"The backbone's weights are (.+)\.")
_SHARES = re.compile(r"The backbone's layers were split over (\d+) processes\.")
_SHORTENED = re.compile(
    r"(\d+) of \d+ (\w+) prompts were shortened to fit into (\d+) tokens(?:, and (\d+) lost their answer)?\."
)
_CUT = re.compile(r"(\d+) of \d+ (\w+) answers were cut at their end to fit into (\d+) tokens\.")
_SEARCHED = re.compile(
    r"The search trained (\d+) parameters and ended after (\d+) steps, (.+); what it found at step (\d+) "
    r"was then trained from scratch\."
)
_ENDED = re.compile(r"Training ended after (\d+) steps, (.+)\.")
_LOST = re.compile(r"(\d+) (?:contexts|prompts) lost tokens at their beginning .+\.")


def run_of_schema_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run's record of schema 1 in the form of schema 2; its notes stay."""
    found: dict[str, Any] = {**content, "schema": 2}
    splits = {name: dict(split) for name, split in content.get("splits", {}).items()}
    phases: list[dict[str, Any]] = []
    for note in content.get("notes", ()):
        if match := _WEIGHTS.fullmatch(note):
            found["weights"] = match[1]
        elif match := _SHARES.fullmatch(note):
            found["shares"] = int(match[1])
        elif match := _SHORTENED.fullmatch(note):
            own = splits.setdefault(match[2], {})
            own |= {"shortened": int(match[1]), "lost_answers": int(match[4] or 0)}
            found["max_tokens"] = int(match[3])
        elif match := _CUT.fullmatch(note):
            splits.setdefault(match[2], {})["cut_answers"] = int(match[1])
            found["max_tokens"] = int(match[3])
        elif match := _SEARCHED.fullmatch(note):
            phases.append(_phase(match[1], match[2], match[4], match[3]))
        elif match := _ENDED.fullmatch(note):
            phases.append(_phase(None, match[1], content.get("best_step"), match[2]))
    return {**found, "splits": splits, "phases": phases}


_RENAMED = {"pedro_bench.backbones.llama.Llama": "pedro_bench.backbones.pretrained.Pretrained"}
"""Classes of recorded backbones -> their names today."""

_RELABELLED = {"Learned Adapter": "Learned-Adapter"}
"""Printed names of recorded methods -> their papers' spelling."""


def config_now(config: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded configuration with today's settings and names.

    The learning rate of the embedded backbone stood in `method.micro_lr`, and in `trainer.untuned_lr` for
    methods without one; both were in force where no other rate was given.
    """
    backbone = config.get("backbone")
    if isinstance(backbone, Mapping) and backbone.get("_target_") in _RENAMED:
        config = {**config, "backbone": {**backbone, "_target_": _RENAMED[backbone["_target_"]]}}
    method, trainer = config.get("method"), config.get("trainer")
    if isinstance(method, Mapping) and method.get("label") in _RELABELLED:
        method = {**method, "label": _RELABELLED[method["label"]]}
        config = {**config, "method": method}
    if not isinstance(method, Mapping) or "micro_lr" not in method:
        return config
    method, trainer = dict(method), dict(trainer or {})
    own, untuned = method.pop("micro_lr"), trainer.pop("untuned_lr", None)
    if trainer.get("rates") is None:
        trainer.pop("rates", None)  # `trainer=micro` had no table of rates, and has one now
    if trainer.get("lr") is None:
        method["lr"] = own if method.get("lr") is None else method["lr"]
        trainer["lr"] = untuned
    return {**config, "method": method, "trainer": trainer}


def evaluation_of_schema_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an evaluation's record of schema 1 in the form of schema 2."""
    lost = [match for note in content.get("notes", ()) if (match := _LOST.fullmatch(note))]
    return {**content, "schema": 2, "shortened": sum(int(match[1]) for match in lost)}


def _phase(trainable: str | None, steps: str, best_step: Any, how: str) -> dict[str, Any]:
    return {
        "trainable": None if trainable is None else int(trainable),
        "steps": int(steps),
        "best_step": None if best_step is None else int(best_step),
        "stopped_early": how.startswith("early"),
    }
