"""`data=micro`: the embedded micro world's version of every task, made on the spot."""

from dataclasses import dataclass

from pedro_bench import checks
from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.protocols.task import DataSource, Located, Task


@dataclass(frozen=True, kw_only=True)
class MicroSource(DataSource):
    """Rows from the project's own generator, with the official field names of each task.

    Attributes:
        seed: Seed of the generator; at least 0. It is not the run's seed.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("data.seed", self.seed, least=0)
        if self.holdout is not None:
            raise ConfigError(
                f"data.holdout must be null with data=micro, got {self.holdout!r}: the micro world "
                "brings train, dev and test itself."
            )

    def read(self, task: Task) -> dict[str, list[Located]]:
        """Make the rows; the splits are train, dev and test."""
        from pedro_bench.data import micro

        self._check(task)
        return {
            split: [
                Located(row, f"micro {split} row {number}")
                for number, row in enumerate(rows, start=1)
            ]
            for split, rows in micro.generate(task.name, seed=self.seed).items()
        }

    def fingerprint(self, task: Task) -> str:
        """Return the generator's version and the seed, which decide the rows; no row is made."""
        from pedro_bench.data import micro

        self._check(task)
        return f"micro:{micro.VERSION}:{self.seed}:{task.name}"

    def _check(self, task: Task) -> None:
        from pedro_bench.data import micro

        if task.name not in micro.TASKS:
            raise DataError(
                f"task must be one that the micro world has, got {task.name!r}: "
                f"use data=files or data=hub.{near_match(task.name, micro.TASKS)}"
            )
