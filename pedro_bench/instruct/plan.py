"""Plan: what an evaluation will do and under which key, known before anything heavy is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.errors import RecordError
from pedro_bench.instruct.request import Request
from pedro_bench.records import RunRecord
from pedro_bench.runs.identity import resolve_device

VERSIONS = {"mmlu": 1, "bbh": 1, "mt_bench": 1}
"""Suite -> whole number, raised whenever the same run and rows get another score or another answer."""


@dataclass(frozen=True)
class Run:
    """The run to evaluate: its record and where that lies."""

    path: Path
    record: RunRecord

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this run, and this outcome of it, from every other."""
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


def find_run(request: Request) -> Run:
    """Return the finished run that a request names.

    Raises:
        RecordError: If there is none.
    """
    path = Path(request.run)
    if path.is_dir():
        path = records.suite_folder(request.results_dir, path.parent.name) / f"{path.name}.json"
    if not path.is_file():
        raise RecordError(
            f"run must be the record of a finished run, got {request.run!r}, where "
            f"{str(path)!r} is no file."
        )
    record = records.read(path)
    if record.status != "finished":
        raise RecordError(f"run must be finished, got {record.status!r} in {path}.")
    return Run(path, record)


def evaluation_key(run: Run, parts: dict[str, Any], device: str) -> str:
    """Return the key of an evaluation.

    Args:
        run: The run to evaluate.
        parts: What else can change its numbers, its `suite` among it.
        device: As requested.

    Raises:
        ConfigError: If the device cannot be had.
    """
    whole = {
        "run": run.identity,
        "device": resolve_device(device).partition(":")[0],
        "version": VERSIONS[parts["suite"]],
        **parts,
    }
    return records.run_key(whole)


def beams_of(request: Request, run: Run) -> int:
    """Return the beams of generated text: as asked, else the run's."""
    return request.num_beams or int(run.record.config["evaluation"]["num_beams"])


def batch_size_of(request: Request, run: Run) -> int:
    """Return the prompts in one pass: as asked, else the run's."""
    return request.batch_size or int(run.record.config["evaluation"]["batch_size"])
