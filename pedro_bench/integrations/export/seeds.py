"""The runs that an export belongs to: all seeds of its key, from their records.

What a record says of places on this machine is replaced before anything is shown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.analysis.reading import read_runs
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.statistics import Interval, seed_interval, spread
from pedro_bench.backbones import folders


def seeds_of(run: str | Path, config: Mapping[str, Any]) -> list[Run]:
    """Return the finished runs of a run's key in its suite, its own among them, by seed.

    Args:
        run: The run's record, or its working folder.
        config: Its configuration.

    Returns:
        Nothing where a working folder's records are not where they were written.
    """
    place = Path(run)
    if place.is_dir():
        results, suite = config.get("results_dir"), config.get("suite")
        if results is None or suite is None:
            return []
        place = records.suite_folder(results, suite) / f"{place.resolve().name}.json"
        if not records.exists(place):
            return []
    place = place.resolve()
    results_dir = records.results_folder(place)
    if results_dir is None:
        return []
    key, _, _ = place.stem.rpartition("--seed")
    found = records.find(results_dir, place.parent.name)
    runs = read_runs([path for path in found if path.stem.rpartition("--seed")[0] == key])
    return sorted((one for one in runs if one.status == "finished"), key=lambda one: one.seed)


def scores_of(runs: Sequence[Run]) -> dict[str, tuple[list[float], float, Interval | None]]:
    """Return metric -> (test score of each seed, their median, its interval), the main metric first."""
    if not runs:
        return {}
    tests = [run.scores for run in runs]
    main = runs[0].main_metric
    names = sorted(name for name in tests[0] if all(name in one for one in tests))
    names.sort(key=lambda name: name != main)
    columns = {name: [one[name] for one in tests] for name in names}
    return {
        name: (values, spread(values).median, seed_interval(values))
        for name, values in columns.items()
    }


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without places of this machine: `data.root` is DIR, a local folder its name."""
    shown = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()
    }
    if (shown.get("data") or {}).get("root"):
        shown["data"]["root"] = "DIR"
    if (shown.get("evaluation") or {}).get("forgetting"):
        shown["evaluation"]["forgetting"] = "TEXT"
    backbone = shown.get("backbone") or {}
    for key in ("path", "tokenizer_path", "adapter"):
        place = backbone.get(key)
        if place and not place.startswith(folders.PACKAGE_PREFIX) and folders.local_folder(place):
            backbone[key] = Path(place).name
    return {key: value for key, value in shown.items() if key not in ("results_dir", "output_dir")}
