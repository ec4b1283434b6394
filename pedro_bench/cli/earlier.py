"""Earlier: what finished records tell of runs to come; every record is looked at once, whatever the grid.

A record that cannot be read, of whichever suite, tells nothing and is counted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.analysis.reading import Run, read_runs
from pedro_bench.analysis.settings import with_earlier
from pedro_bench.analysis.statistics import median
from pedro_bench.errors import RecordError
from pedro_bench.grid.costs import Cost
from pedro_bench.protocols.settings import Settings
from pedro_bench.runs.identity import resolve_device

_CONFIGURED = ("method", "task", "trainer", "evaluation", "backbone")


class Earlier:
    """Finished records of all suites, by what makes a run like another.

    Args:
        results_dir: Root of the records.

    Attributes:
        unreadable: Records that could not be read.
    """

    def __init__(self, results_dir: str) -> None:
        runs, self.unreadable = _readable(records.find(Path(results_dir)))
        self._spent: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
        self._found: dict[tuple[Any, ...], tuple[float, int] | None] = {}
        self._done: set[tuple[Any, ...]] = set()
        known: dict[int, tuple[Any, Any]] = {}
        for run in runs:
            seconds = _seconds(run)
            if run.status != "finished" or seconds <= 0:
                continue
            if id(run.config) not in known:  # runs of one key share it
                known[id(run.config)] = _trainer(run.config), _configured(run.config)
            trainer, configured = known[id(run.config)]
            names = (run.method, run.task, run.backbone)
            self._done.add((run.suite, run.seed, names, configured))
            kind = (run.backbone, run.environment.device, trainer)
            for own in ((), (run.task,), (run.task, run.method)):
                self._spent.setdefault((*kind, *own), []).append(
                    (seconds, run.memory.peak_bytes or 0)
                )

    def num_moved(self, settings: Settings, planned: Sequence[tuple[int, Path, str]]) -> int:
        """Return how many runs that are not finished are so under another key, with these settings."""
        names = (settings.method.name, settings.task.name, settings.backbone.name)
        configured = _configured(settings.resolved_config)
        return sum(
            status != "finished" and (settings.suite, seed, names, configured) in self._done
            for seed, _, status in planned
        )

    def cost(self, settings: Settings) -> Cost | None:
        """Return the median time and greatest memory of the runs most like this one, if any."""
        device = resolve_device(settings.device).partition(":")[0]
        kind = (settings.backbone.name, device, _trainer(settings.resolved_config))
        task, method = settings.task.name, settings.method.name
        levels = (
            ((task, method), "records of this method and task"),
            ((task,), "records of this task"),
            ((), "records of this backbone"),
        )
        for own, source in levels:
            spent = self._spent_by((*kind, *own))
            if spent is not None:
                return Cost(*spent, source)
        return None

    def _spent_by(self, group: tuple[Any, ...]) -> tuple[float, int] | None:
        """Return median seconds and greatest memory of a group; looked for once."""
        if group not in self._found:
            spent = self._spent.get(group, [])
            self._found[group] = (
                (median([seconds for seconds, _ in spent]), max(peak for _, peak in spent))
                if spent
                else None
            )
        return self._found[group]


def _readable(paths: Sequence[Path]) -> tuple[list[Run], list[Path]]:
    """Return what can be read, and the paths of what cannot."""
    try:
        return read_runs(paths), []
    except RecordError:
        runs, unreadable = [], []
        for path in paths:
            try:
                runs += read_runs([path])
            except RecordError:
                unreadable.append(path)
        return runs, unreadable


def _trainer(config: Mapping[str, Any]) -> Any:
    return _group(config, "trainer")


def _configured(config: Mapping[str, Any]) -> Any:
    return tuple(_group(config, group) for group in _CONFIGURED)


def _group(config: Mapping[str, Any], name: str) -> Any:
    return _hashable(with_earlier(name, config.get(name)))


def _hashable(value: Any) -> Any:
    """Return a JSON value in a form that is equal to another's where the values are."""
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return value


def _seconds(run: Run) -> float:
    return (run.timing.train_seconds or 0.0) + (run.timing.test_seconds or 0.0)
