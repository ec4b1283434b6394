"""Job: one evaluation that is checked and has its key, but is not made yet; imports nothing heavy."""

import glob
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pedro_bench import files, records
from pedro_bench.evaluation.config import search_settings
from pedro_bench.instruct.leaderboard import LEADERBOARD
from pedro_bench.instruct.record import Journal, record_path
from pedro_bench.instruct.request import Request
from pedro_bench.records import RunRecord
from pedro_bench.runs.environment import kind_of_device

VERSIONS = {"mmlu": 1, "bbh": 1, "mt_bench": 2, "alpaca_eval": 2} | dict.fromkeys(LEADERBOARD, 1)
"""Suite -> whole number, raised whenever the same run and rows get another score or another answer."""


@dataclass(frozen=True)
class EvaluatedRun:
    """The run to evaluate: its record and where that lies."""

    path: Path
    record: RunRecord

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies this run and this outcome of it."""
        predictions = self.record.predictions or {}
        return {
            "key": self.record.key,
            "seed": self.record.seed,
            "predictions": predictions.get("sha256"),
        }

    @property
    def named(self) -> dict[str, Any]:
        """The run as it stands in an evaluation's record."""
        names = ("suite", "method", "task", "backbone", "key", "seed")
        return {"stem": self.record.stem, **{name: getattr(self.record, name) for name in names}}


def find_run(request: Request) -> EvaluatedRun:
    """Return the finished run that a request names.

    Raises:
        RecordError: If there is none: see `records.finished_run`.
    """
    path = Path(request.run)
    if path.is_dir():
        path = records.suite_folder(request.results_dir, path.parent.name) / f"{path.name}.json"
    return EvaluatedRun(path, records.finished_run(path))


def evaluation_key(run: EvaluatedRun, parts: dict[str, Any], device: str) -> str:
    """Return the key of an evaluation of a run; `parts` are what else can change its numbers."""
    whole = {
        "run": run.identity,
        "device": kind_of_device(device),
        "version": VERSIONS[parts["suite"]],
        **parts,
    }
    return records.run_key(whole)


def search_of(request: Request, run: EvaluatedRun) -> dict[str, Any]:
    """Return the settings of the search for generated text: the run's, the beams as asked if they are."""
    search = search_settings(run.record.config["evaluation"])
    return search if request.num_beams is None else {**search, "num_beams": request.num_beams}


def batch_size_of(request: Request, run: EvaluatedRun) -> int:
    """Return the prompts in one pass: as asked, else the run's."""
    return request.batch_size or int(run.record.config["evaluation"]["batch_size"])


Report = Callable[[str], None]
"""Takes a line for people that says how far the evaluation is."""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found.

    Attributes:
        metrics: Metric -> value over the whole suite.
        parts: Task or category -> its metrics and rows.
        rows: Kind of file -> its rows.
        notes: Sentences a reader should know.
        shortened: Contexts or prompts that lost tokens to fit the model.
        keys: Kind of file -> its key, where that is not the evaluation's.
        config: Settings that are known only after the model was loaded.
    """

    metrics: Mapping[str, float]
    parts: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    notes: Sequence[str] = ()
    shortened: int = 0
    keys: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


class Job(ABC):
    """One suite on one run; building it checks the input and imports nothing heavy.

    Attributes:
        config: The evaluation's settings, as recorded.
        data: Fingerprint and number of the rows.
        key: Hash of everything that can change the outcome.
    """

    request: Request
    run: EvaluatedRun
    config: dict[str, Any]
    data: dict[str, Any]
    key: str

    @abstractmethod
    def make(self, record: Path, report: Report) -> Outcome:
        """Evaluate, going on from what an interruption left; `record` is where the record will lie."""

    @abstractmethod
    def clean(self) -> None:
        """Remove the working files, once the record is written."""

    @property
    def record_path(self) -> Path:
        """Where the evaluation's record lies, whether or not it exists."""
        return record_path(
            self.request.results_dir, self.request.suite, self.run.record.stem, self.key
        )

    def journal(self, kind: str, key: str) -> Journal:
        """Open a working file of this job; with `rerun` one of its own, which an interruption leaves.

        A rerun goes on only from a rerun that was to replace the same record. What is left of others is
        removed: their record was written.
        """
        path = self._journal_path(kind, key, is_rerun=self.request.rerun)
        if self.request.rerun:
            prefix = f"{self.run.record.stem}--{self.key}.rerun"
            for other in path.parent.glob(f"{glob.escape(prefix)}*.{kind}.jsonl"):
                if other != path:
                    other.unlink(missing_ok=True)
        return Journal(path)

    def remove_journal(self, kind: str, key: str) -> None:
        """Remove a working file of this job; with `rerun` that of an evaluation without it too."""
        for is_rerun in {False, self.request.rerun}:
            self._journal_path(kind, key, is_rerun=is_rerun).unlink(missing_ok=True)

    def _journal_path(self, kind: str, key: str, *, is_rerun: bool) -> Path:
        folder = Path(self.request.output_dir) / "instruct" / self.request.suite
        # A rerun's answers are of this record alone: another judge's rerun has its own.
        name = f"{self.key}.rerun-{self._replaced}" if is_rerun else key
        return folder / f"{self.run.record.stem}--{name}.{kind}.jsonl"

    @cached_property
    def _replaced(self) -> str:
        """Hash of the record that was there when the first working file was opened."""
        try:
            return hashlib.sha256(files.read_bytes(self.record_path)).hexdigest()[:12]
        except FileNotFoundError:
            return "none"
