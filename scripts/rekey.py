"""Give finished records the keys that the present code asks for, once it is proved that their numbers hold.

    python scripts/rekey.py --verify 44 --log outputs/verified.jsonl     # runs anew, compares, writes nothing
    python scripts/rekey.py --write --log outputs/verified.jsonl         # renames records and predictions

A key moves without a number moving when its form changes (as when it ceased to hash code). `--verify` runs a
sample that is spread over every suite, method and task, and compares predictions, training curves and scores
bit for bit; it goes on where its log stops. Where this kind of processor gives other last digits than the one
that made a record, `--reference CHECKOUT` compares with the code that made it, run here. `--write` refuses
unless every run in the log agrees. Each record keeps its former key in a note. Records whose component has
another version now keep the key of the version that made them: name it with `--made-with method.Ssp=1`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pedro_bench import files, records
from pedro_bench.analysis.recorded_settings import with_defaults_before
from pedro_bench.protocols.settings import Settings, build_settings
from pedro_bench.records import RunRecord
from pedro_bench.runs.identity import key_parts

NOTE = "The key was {old} while keys held a hash of the code; settings, data and versions are the same."


REPOSITORY = Path(__file__).resolve().parents[1]

_ANEW = """
import json, sys
from pathlib import Path
try:
    from pedro_bench.grid import run
except ImportError:  # a checkout from before this module, and likewise below
    from pedro_bench.experiment import run
try:
    from pedro_bench.analysis.recorded_settings import with_defaults_before
except ImportError:
    try:
        from pedro_bench.analysis.rows import with_earlier as with_defaults_before
    except ImportError:
        from pedro_bench.reporting.settings import with_earlier as with_defaults_before
from pedro_bench import records
from pedro_bench.protocols.settings import build_settings

record = records.read(sys.argv[1])
config = json.loads(json.dumps(dict(record.config)))
for group in ("method", "trainer", "evaluation"):
    config[group] = with_defaults_before(group, config[group])
config |= {"seeds": [record.seed], "output": "json", "rerun": False}
config |= {"results_dir": sys.argv[2] + "/results", "output_dir": sys.argv[2] + "/outputs"}
(found,) = run(build_settings(config))
print(json.dumps(found))
"""


def settings_of(record: RunRecord) -> Settings:
    """Return the configuration of a record, completed with what was in force before later settings."""
    config: dict[str, Any] = json.loads(json.dumps(record.config))
    for group in ("method", "trainer", "evaluation"):
        config[group] = with_defaults_before(group, config[group])
    config |= {"seeds": [record.seed], "output": "json", "rerun": False}
    return build_settings(config)


def new_key(settings: Settings, made_with: Mapping[str, int]) -> tuple[str, dict[str, int]]:
    """Return the key and versions of a run that was made with older versions of some components."""
    parts = key_parts(settings)
    older = {name: number for name, number in made_with.items() if name in parts["versions"]}
    parts["versions"] = {**parts["versions"], **older}
    return records.run_key(parts), parts["versions"]


def sample(paths: Sequence[Path], number: int) -> list[Path]:
    """Return records spread over suites, methods and tasks: another task and seed for each turn."""
    cells: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path in paths:
        method, task, *_ = path.stem.split("--")
        cells.setdefault((path.parent.name, method), {}).setdefault(task, []).append(path)
    turns: list[list[Path]] = []
    for turn, tasks in enumerate(cells.values()):
        names = list(tasks)
        own = [tasks[names[(turn + step) % len(names)]] for step in range(len(names))]
        turns.append([group[(turn + step) % len(group)] for step, group in enumerate(own)])
    spread = [path for row in zip_longest(*turns) for path in row if path is not None]
    return spread[:number]


def verify(
    paths: Sequence[Path], log: Path, reference: Path | None, workers: int = 1
) -> Iterator[dict[str, Any]]:
    """Run each record's configuration anew and yield what agreed; what the log proves is not run again.

    Args:
        paths: Records.
        log: JSON lines, one a record; a later one counts.
        reference: A checkout of the code that made the records. Where this kind of processor gives other
            numbers than the record's, its numbers here are what the present code must give.
        workers: How many records are verified side by side, at least 1.
    """
    known = _logged(log)
    log.parent.mkdir(parents=True, exist_ok=True)

    def verified(path: Path) -> dict[str, Any]:
        name = f"{path.parent.name}/{path.stem}"
        if name in known and (agrees(known[name]) or reference is None):
            return known[name]
        old = records.read(path)
        new = _run(path, REPOSITORY)
        found = {"record": name, "against": "record", **_compared(new, old.as_dict())}
        if not agrees(found) and reference is not None:
            theirs = _run(path, reference)
            found = {"record": name, "against": "reference", **_compared(new, theirs)}
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")
        return found

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(verified, paths)


def agrees(found: Mapping[str, Any]) -> bool:
    """Whether a run anew gave the predictions, the training curve and the scores bit for bit."""
    return all(found[name] for name in ("predictions", "history", "metrics"))


def _compared(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, bool]:
    digests = [(run["predictions"] or {}).get("sha256") for run in (one, other)]
    same = {name: one[name] == other[name] for name in ("history", "metrics")}
    return {"predictions": digests[0] == digests[1], **same}


def _run(path: Path, checkout: Path) -> dict[str, Any]:
    """Run a record's configuration with the code of a checkout; return the record that it gives."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _ANEW, str(path.absolute()), folder],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit(f"{path.stem} with the code in {checkout}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rekey(path: Path, results: Path, made_with: Mapping[str, int]) -> str | None:
    """Write a record and its predictions under the present key; return it, None where it has it already."""
    old = records.read(path)
    settings = settings_of(old)
    key, used = new_key(settings, made_with)
    if key == old.key:
        return None
    config = {
        **old.config,
        **{
            name: settings.resolved_config[name]
            for name in ("method", "task", "backbone", "data", "trainer", "evaluation")
        },
    }
    place = records.record_path(
        results,
        old.suite,
        method=old.method,
        task=old.task,
        backbone=old.backbone,
        key=key,
        seed=old.seed,
    )
    predictions = None
    if old.predictions is not None:
        target = records.predictions_path(place)
        predictions = {**old.predictions, "path": target.relative_to(place.parent).as_posix()}
        if records.has_predictions(path):  # of trials they are not kept
            files.write_bytes(target, records.read_predictions(path))
    new = old.changed(
        key=key,
        versions=used,
        config=config,
        predictions=predictions,
        notes=[*old.notes, NOTE.format(old=old.key)],
    )
    records.write(new, results)
    for own in path.parent.glob(
        f"*/{path.stem}.json"
    ):  # what else is kept of a run, such as activations
        own.rename(own.with_stem(place.stem))
    for stale in (path, records.predictions_path(path)):
        stale.unlink(missing_ok=True)
    return key


def is_finished_run(record: RunRecord) -> bool:
    """Whether a record is of a training that is finished, not of a measurement of speed."""
    return record.status == "finished" and not record.is_measurement


def main() -> int:
    """Verify or write; return 0, or 2 if a run does not agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--log", type=Path, default=Path("outputs/verified.jsonl"))
    parser.add_argument("--verify", type=int, default=0, metavar="RUNS")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--made-with", nargs="*", default=[], metavar="COMPONENT=VERSION")
    parser.add_argument("--reference", type=Path, metavar="CHECKOUT")
    given = parser.parse_args()
    pairs = [one.partition("=") for one in given.made_with]
    made_with = {name: int(number) for name, _, number in pairs}
    paths = [path for path in records.find(given.results) if is_finished_run(records.read(path))]
    for found in verify(sample(paths, given.verify), given.log, given.reference, given.workers):
        print(json.dumps(found), flush=True)
    logged = _logged(given.log)
    wrong = [name for name, one in logged.items() if not agrees(one)]
    if wrong:
        print(
            f"{len(wrong)} of {len(logged)} runs do not agree: {', '.join(wrong)}", file=sys.stderr
        )
        return 2
    if given.write:
        if not logged:
            print("--write needs a log of verified runs: give --verify first", file=sys.stderr)
            return 2
        moved = [rekey(path, given.results, made_with) for path in paths]
        print(f"{sum(one is not None for one in moved)} of {len(paths)} records have a new key")
    return 0


def _logged(log: Path) -> dict[str, dict[str, Any]]:
    """Return record -> what its last run anew gave."""
    if not log.is_file():
        return {}
    lines = log.read_text(encoding="utf-8").split("\n")
    return {one["record"]: one for one in (json.loads(line) for line in lines if line)}


if __name__ == "__main__":
    sys.exit(main())
