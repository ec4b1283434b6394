"""`Run`: one record as tables, figures and plans read it.

It has the fields of `records.RunRecord`, and those that `analysis.reading` and `analysis.rows` fill in; what
is read only where it is asked for, such as a history, is not parsed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import records


class Environment(msgspec.Struct, frozen=True):
    """The device that a run was on, how many processes trained it, and the code that made it."""

    device: str | None = None
    device_name: str | None = None
    processes: int | None = None
    commit: str | None = None
    dirty: bool | None = None


class Memory(msgspec.Struct, frozen=True):
    """Peak memory, and the size of the saved adapter."""

    peak_bytes: int | None = None
    adapter_bytes: int | None = None


class Energy(msgspec.Struct, frozen=True):
    """Joules that the device took in training, and of what: `gpu` or `processors`."""

    train_joules: float | None = None
    of: str | None = None


class Timing(msgspec.Struct, frozen=True):
    """Seconds of training and of scoring, and the tokens trained on in a second."""

    train_seconds: float | None = None
    test_seconds: float | None = None
    tokens_per_second: float | None = None


class Run(msgspec.Struct, forbid_unknown_fields=True):
    """One record, or one evaluation of a run.

    Attributes:
        config: The configuration, shared by the runs of one key.
        path: Where the record lies.
        label: The method's printed name, in LaTeX.
        versions: Component -> its version, such as `trainer` -> 1, shared by the runs of one key.
        known: The settings that can move a number, null where the configuration says null.
        settings: Those in which it differs from other runs of its method, such as `alpha=2, r=1`.
        row: Number of its settings among those of its method, the smallest first.
        shown: Whether tables show it: it finished and no newer run replaces it.
        evaluates: Stem of the record that this evaluation is of, None for a run itself.
        parts: Task or category -> its metrics, of an evaluation.
    """

    key: str
    status: str
    method: str
    task: str
    backbone: str
    data: str
    suite: str
    seed: int
    raw_config: msgspec.Raw = msgspec.field(name="config")
    main_metric: str
    started: str
    schema: int = records.SCHEMA
    parameters: dict[str, int] = {}
    splits: dict[str, records.Split] = {}
    notes: list[str] = []
    history: msgspec.Raw = msgspec.Raw()
    best_step: int | None = None
    metrics: dict[str, dict[str, float]] = {}
    forgetting: dict[str, float] | None = None
    operations: dict[str, int] | None = None
    predictions: dict[str, str] | None = None
    timing: Timing = Timing()
    memory: Memory = Memory()
    energy: Energy | None = None
    environment: Environment = Environment()
    finished: str | None = None
    error: str | None = None
    error_type: str | None = None
    raw_versions: msgspec.Raw = msgspec.field(name="versions", default=msgspec.Raw())
    weights: str | None = None
    max_tokens: int | None = None
    phases: list[records.Phase] = []
    shares: int = 1
    # What is no part of a record: a dash in front, so that no key of one is read into it.
    config: Mapping[str, Any] = msgspec.field(name="-config", default_factory=dict)
    versions: Mapping[str, Any] = msgspec.field(name="-versions", default_factory=dict)
    path: str = msgspec.field(name="-path", default="")
    label: str = msgspec.field(name="-label", default="")
    known: Mapping[str, Any] = msgspec.field(name="-known", default_factory=dict)
    settings: str = msgspec.field(name="-settings", default="")
    row: int = msgspec.field(name="-row", default=0)
    shown: bool = msgspec.field(name="-shown", default=False)
    evaluates: str | None = msgspec.field(name="-evaluates", default=None)
    parts: Mapping[str, Mapping[str, Any]] = msgspec.field(name="-parts", default_factory=dict)

    @property
    def scores(self) -> Mapping[str, float]:
        """Metric -> value on the test split."""
        return self.metrics.get("test", {})

    @property
    def score(self) -> float | None:
        """The main metric on the test split, None where the run is not finished."""
        return self.scores.get(self.main_metric)

    @property
    def forgotten(self) -> float | None:
        """Rise of the loss on plain text in nats a token, None where it was not measured."""
        return (self.forgetting or {}).get("rise")

    @property
    def method_operations(self) -> int | None:
        """Operations that the method adds to a pass over a prompt, None where they were not counted."""
        return (self.operations or {}).get("method")

    def joules(self, of: str) -> float | None:
        """Return the energy of the `gpu` or the `processors` in training, None where it was not counted."""
        found = self.energy
        return found.train_joules if found is not None and found.of == of else None

    @property
    def stem(self) -> str:
        """Name of the record's file without its ending."""
        return Path(self.path).stem

    @property
    def is_measurement(self) -> bool:
        """Whether it is a measurement of speed and memory, not a training."""
        return records.is_measurement(self.config)

    @property
    def record(self) -> str:
        """Place of the record under its results_dir: `runs/<suite>/<stem>.json`."""
        return "/".join(self.path.replace("\\", "/").split("/")[-3:])

    def fingerprint(self, split: str) -> str | None:
        """Fingerprint of a split's rows."""
        return self.splits[split].fingerprint if split in self.splits else None
