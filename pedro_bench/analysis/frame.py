"""Frame: records as a pandas DataFrame, one row a run; predictions likewise, one row a test row.

Example:
    frame = pedro_bench.results("results")
    frame[frame.shown].groupby(["method", "settings", "task"]).score.median()
    pedro_bench.predictions(frame.iloc[0])
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pedro_bench import checks
from pedro_bench.analysis.reading import (
    find,
    no_collection,
    predicted_rows,
    read_evaluations,
    read_runs,
)
from pedro_bench.analysis.rows import name_rows
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection, select_shown
from pedro_bench.errors import ConfigError, RecordError
from pedro_bench.records import unknown_suites

_NAMES = (
    "suite",
    "method",
    "settings",
    "task",
    "backbone",
    "data",
    "seed",
    "status",
    "main_metric",
)
_COUNTS: Mapping[str, Callable[[Run], Any]] = {
    "matrices": lambda run: run.parameters.get("matrices"),
    "trainable": lambda run: run.parameters.get("trainable"),
    "peak_bytes": attrgetter("memory.peak_bytes"),
    "adapter_bytes": attrgetter("memory.adapter_bytes"),
    "method_operations": attrgetter("method_operations"),
}
_NUMBERS: Mapping[str, Callable[[Run], Any]] = {
    "train_seconds": attrgetter("timing.train_seconds"),
    "test_seconds": attrgetter("timing.test_seconds"),
    "train_tokens_per_second": attrgetter("timing.tokens_per_second"),
    "gpu_joules": methodcaller("joules", "gpu"),
    "processor_joules": methodcaller("joules", "processors"),
    "forgotten": attrgetter("forgotten"),
}
_PLACES = ("environment.device", "environment.device_name", "key", "path", "environment.commit",
           "started", "error", "shown")  # fmt: skip
RUN = "run"
"""Column of the runs themselves, which tables are made of."""
COLUMNS = (
    *_NAMES,
    "score",
    *_COUNTS,
    *_NUMBERS,
    "dirty",
    *(n.split(".")[-1] for n in _PLACES),
    RUN,
)
"""The columns of every frame; the others are metrics."""


@no_collection()
def results(folder: str | Path = "results", suites: str | Sequence[str] = ()) -> pd.DataFrame:
    """Return the records under `folder`, one row a run, with the evaluations of finished runs.

    Columns, missing where a record lacks the value:

    - `suite`, `method`, `settings`, `task`, `backbone`, `data`, `seed`: names; `settings` are those in which
      a run differs from others of its method, such as `alpha=2, r=1`.
    - `status`: `finished`, `failed` or `running`; `error` is one sentence where it failed.
    - `main_metric`, `score`: the metric that tables show, and its value on the test split.
    - `acc`, `f1`, …: every metric of the test split; one with the name of another column is `test_<name>`.
    - `matrices`, `trainable`: entries that the papers count as parameters; all that the optimiser updates.
    - `train_seconds`, `test_seconds`, `train_tokens_per_second`, `peak_bytes`, `adapter_bytes`: what it cost.
    - `gpu_joules`, `processor_joules`: energy in training of the GPU of a run on one, or of all processors of
      a run on them, where the device counts it; two quantities, of which a run has one.
    - `method_operations`: floating-point operations of the matrix products that the method adds to a pass
      over a prompt; 0 where all it adds is element-wise.
    - `forgotten`: rise of the loss on plain text, in nats a token.
    - `device`, `device_name`, `key`, `path`, `commit`, `dirty`, `started`: where it comes from.
    - `shown`: whether tables show it: it finished, and no newer run replaces it. Medians over
      `frame[frame.shown]` are those of the tables.
    - `run`: all that the record holds, which `tables` reads; other columns are for people.

    Args:
        folder: The results_dir of the runs.
        suites: Names of suites, or the name of one; none given: all.

    Raises:
        ConfigError: If `folder` is no path.
        RecordError: If there is no record, or one is damaged.
    """
    folder = checks.path("folder", folder)
    suites = [suites] if isinstance(suites, str) else suites
    runs = read_runs(find(folder, suites))
    if not runs:
        of = f" of suite {', '.join(suites)}" if suites else ""
        remedy = ": make one with python -m pedro_bench method=pedro task=boolq."
        raise RecordError(
            f"folder must hold records{of}, got none in {str(Path(folder) / 'runs')!r}"
            f"{unknown_suites(folder, suites) or remedy}"
        )
    runs += read_evaluations(folder, runs)
    name_rows(runs)
    for run, selection in zip(runs, select_shown(runs).selections, strict=True):
        run.shown = selection is Selection.SHOWN
    return frame_of(runs)


def frame_of(runs: Sequence[Run]) -> pd.DataFrame:
    """Return runs as a DataFrame."""
    values: dict[str, Any] = {name: list(map(attrgetter(name), runs)) for name in _NAMES}
    values["score"] = np.array([run.score for run in runs], dtype=np.float64)
    for number, run in enumerate(runs):
        for name, value in run.scores.items():
            column = f"test_{name}" if name in COLUMNS else name
            if column not in values:
                values[column] = np.full(len(runs), np.nan)
            values[column][number] = value
    for name, get in _COUNTS.items():
        values[name] = pd.array([get(run) for run in runs], dtype="Int64")
    for name, get in _NUMBERS.items():
        values[name] = np.array([get(run) for run in runs], dtype=np.float64)
    values["dirty"] = pd.array([run.environment.dirty for run in runs], dtype="boolean")
    for place in _PLACES:
        values[place.split(".")[-1]] = list(map(attrgetter(place), runs))
    values[RUN] = np.empty(len(runs), dtype=object)
    values[RUN][:] = runs
    return pd.DataFrame(values)


def runs_of(frame: pd.DataFrame) -> list[Run]:
    """Return the runs of a frame of `results`, or of some of its rows.

    Raises:
        RecordError: If their column is gone.
    """
    if RUN not in frame:
        raise RecordError(
            f"frame must have the column {RUN!r} of pedro_bench.results, got {', '.join(frame)}: choose "
            "rows and leave the columns as they are."
        )
    found: list[Run] = frame[RUN].tolist()
    return found


def predictions(run: Any) -> pd.DataFrame:
    """Return a run's predictions, one row a test row: `index`, `prediction`, `score` and so on.

    Args:
        run: A row of `results`, or the path of a record.

    Raises:
        ConfigError: If `run` is neither.
        RecordError: If they were not recorded, are gone or damaged, or were changed.
    """
    if not isinstance(run, Mapping | pd.Series):
        [found] = read_runs([Path(checks.path("run", run))])
    elif RUN in run:
        found = run[RUN]
    else:
        raise ConfigError(
            f"run must be a row of results with its column {RUN!r}, got {', '.join(map(str, run.keys()))}."
        )
    return pd.DataFrame(predicted_rows(found))
