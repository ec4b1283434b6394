"""Frame: records as a pandas DataFrame, one row a run; predictions likewise, one row a test row.

frame = pedro_bench.results("results")
frame[frame.shown].groupby(["method", "settings", "task"]).score.median()
pedro_bench.predictions(frame.iloc[0])
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pedro_bench.analysis.evaluations import read_evaluations
from pedro_bench.analysis.reading import Run, find, no_collection, predicted_rows, read_runs
from pedro_bench.analysis.rows import SHOWN, roles, row_names
from pedro_bench.errors import RecordError

_COUNTS = ("matrices", "trainable", "peak_bytes", "adapter_bytes")
_SECONDS = ("score", "train_seconds", "test_seconds", "train_tokens_per_second")
_OBJECTS = ("config", "known", "shortened", "predictions")
_BEFORE_METRICS = Run._fields.index("scores")
COLUMNS = tuple(name for name in Run._fields if name != "scores")
"""The columns of every frame; the others are metrics."""


@no_collection()
def results(folder: str | Path = "results", suites: Sequence[str] = ()) -> pd.DataFrame:
    """Return the records under `folder`, one row a run, with the evaluations of finished runs.

    The columns are those of `analysis.reading.Run`: names (suite, method, settings, task, backbone, data,
    seed), status, `score` (the main metric), one column for each metric of the test split, parameters
    (`matrices`, `trainable`), costs (`train_seconds`, `train_tokens_per_second`, `peak_bytes`,
    `adapter_bytes`), device, key, path, commit and what comparisons need. What a record lacks is missing.
    A metric with the name of another column is in `test_<name>`. Medians over `frame[frame.shown]` are
    those of the tables: no failed run is among it, and none that a newer one replaces.

    Args:
        folder: The results_dir of the runs.
        suites: Names of suites; none given: all.

    Raises:
        RecordError: If there is no record, or one is damaged.
    """
    runs = read_runs(find(folder, suites))
    if not runs:
        of = f" of suite {', '.join(suites)}" if suites else ""
        raise RecordError(
            f"folder must hold records{of}, got none in {str(Path(folder) / 'runs')!r}: make one with "
            "python -m pedro_bench method=pedro task=boolq."
        )
    runs += read_evaluations(folder, runs)
    return frame_of(runs)


def frame_of(runs: Sequence[Run]) -> pd.DataFrame:
    """Return runs as a DataFrame, with the names of their rows and which of them are shown."""
    names = row_names(runs)
    named = [
        run._replace(settings=name, row=row) if name else run
        for run, (name, row) in zip(runs, names, strict=True)
    ]
    shown = [role == SHOWN for role in roles(named)[0]]
    values: dict[str, Any] = dict(zip(Run._fields, zip(*named, strict=True), strict=True))
    scores = values.pop("scores")
    values |= {name: _objects(values[name]) for name in _OBJECTS}
    values |= {name: pd.array(values[name], dtype="Int64") for name in _COUNTS}
    values |= {name: np.array(values[name], dtype=np.float64) for name in _SECONDS}
    values |= {"shown": shown, "dirty": pd.array(values["dirty"], dtype="boolean")}
    metrics = _metrics(scores)
    order = (*COLUMNS[:_BEFORE_METRICS], *metrics, *COLUMNS[_BEFORE_METRICS:])
    return pd.DataFrame({name: {**values, **metrics}[name] for name in order})


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _metrics(scores: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Return column -> the metric of each run, missing where a run has none."""
    found: dict[str, NDArray[Any]] = {}
    for number, own in enumerate(scores):
        for name, value in own.items():
            column = column_of(name)
            if column not in found:
                found[column] = np.full(len(scores), np.nan)
            found[column][number] = value
    return found


def column_of(metric: str) -> str:
    """Return the column of a metric: its name, or `test_<name>` where another column has it."""
    return f"test_{metric}" if metric in Run._fields else metric


def runs_of(frame: pd.DataFrame) -> list[Run]:
    """Return the rows of a frame of `results`, or of a part of one, as runs.

    Raises:
        RecordError: If a column is gone.
    """
    gone = [name for name in COLUMNS if name not in frame]
    if gone:
        raise RecordError(
            f"frame must have the columns of pedro_bench.results, got none of {', '.join(gone)}: "
            "choose rows and leave the columns as they are."
        )
    scores: list[dict[str, float]] = [{} for _ in range(len(frame))]
    for column in frame.columns.difference(COLUMNS, sort=False):
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        metric = column.removeprefix("test_")
        name = metric if metric in Run._fields else column
        for number in np.flatnonzero(~np.isnan(values)).tolist():
            scores[number][name] = float(values[number])
    columns = {name: listed(frame[name]) for name in COLUMNS} | {"scores": scores}
    return list(map(Run, *(columns[name] for name in Run._fields)))


def listed(column: Any) -> list[Any]:
    """Return a column as Python's values, None for what is missing."""
    absent = column.isna().to_numpy()
    values: list[Any] = column.tolist()
    if not absent.any():
        return values
    return [None if gone else value for gone, value in zip(absent.tolist(), values, strict=True)]


def predictions(run: Any) -> pd.DataFrame:
    """Return a run's predictions, one row a test row: `index`, `prediction`, `score` and so on.

    Args:
        run: A row of `results`, or the path of a record.

    Raises:
        RecordError: If they were not recorded, are gone or were changed.
    """
    is_path = isinstance(run, str | Path)
    found = read_runs([Path(run)]) if is_path else runs_of(run.to_frame().T)
    return pd.DataFrame(predicted_rows(found[0]))
