"""DataSource: where the official rows of a task come from.

A source reads rows and tells what they are; it knows nothing of prompts, and the cutting into
train, dev and test is done by `pedro_bench.data.splits`, the same for every source. Its
`fingerprint` enters the key of a run and must be had within a second, so nothing heavy is imported
for it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pedro_bench import checks
from pedro_bench.protocols.task import Row, Task


class Located(NamedTuple):
    """A row and where it came from.

    Attributes:
        row: The row, with the official release's field names.
        place: Its origin for messages, such as `data/boolq/train.jsonl:12` or `micro train row 3`.
    """

    row: Row
    place: str


@dataclass(frozen=True, kw_only=True)
class DataSource(ABC):
    """Configuration of a data source: what `conf/data/*.yaml` builds; it checks itself.

    Attributes:
        name: The YAML's name; stands in records.
        holdout: Share of the train rows that stands in for an absent validation split, above 0 and
            at most 0.5; None stops the run where that split is absent, unless the release has none.
    """

    version: ClassVar[int] = 1
    """Raised whenever the source reads other rows of the same files; enters the key of a run."""

    name: str
    holdout: float | None = None

    def __post_init__(self) -> None:
        checks.text("data.name", self.name)
        checks.number("data.holdout", self.holdout, above=0, most=0.5, optional=True)

    def may_lack_validation(self, task: Task) -> bool:
        """Whether train rows may stand in for validation rows that are not there."""
        return self.holdout is not None or task.split_rule == "train_only"

    @abstractmethod
    def read(self, task: Task) -> dict[str, list[Located]]:
        """Read the labelled rows of a task.

        Returns:
            Official split name -> rows in official order: `train` and, where there is one,
            `validation`; or `train`, `dev` and `test` where the source brings all three.

        Raises:
            DataError: If the data cannot be found or read; one sentence with place and remedy.
        """

    @abstractmethod
    def fingerprint(self, task: Task) -> str:
        """Return a text that changes whenever the task's rows may change; torch-free and cheap.

        Raises:
            DataError: If the data cannot be found.
        """
