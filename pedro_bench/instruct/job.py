"""Job: one evaluation that is known and checked, but not made yet."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pedro_bench.instruct.journal import Journal
from pedro_bench.instruct.plan import Run
from pedro_bench.instruct.request import Request

Tell = Callable[[str], None]
"""Takes a line that tells a person how far the evaluation is."""


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
        request: What was asked.
        run: The run to evaluate.
        config: The evaluation's settings, as recorded.
        data: Fingerprint and number of the rows.
        key: Hash of everything that can change the outcome.
    """

    request: Request
    run: Run
    config: dict[str, Any]
    data: dict[str, Any]
    key: str

    @abstractmethod
    def make(self, record: Path, tell: Tell) -> Outcome:
        """Evaluate, going on from what an interruption left.

        Args:
            record: Where the record will lie.
            tell: Told how far the evaluation is.
        """

    @abstractmethod
    def clean(self) -> None:
        """Remove the working files, once the record is written."""

    def journal(self, kind: str, key: str) -> Journal:
        """Open a working file of this job."""
        return Journal(self.journal_path(kind, key))

    def journal_path(self, kind: str, key: str) -> Path:
        """Return where a working file of this job lies."""
        folder = Path(self.request.output_dir) / "instruct" / self.request.suite
        return folder / f"{self.run.record.stem}--{key}.{kind}.jsonl"
