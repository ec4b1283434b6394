"""What an upgrade of torch or transformers does to results: the golden traces under other versions.

    python scripts/drift.py                                  # all pairs below; writes docs/drift.md
    python scripts/drift.py --pairs 2.11.0:5.17.0            # some of them; the others' results stay

Each pair of versions gets a virtual environment of its own under outputs/drift/, which is kept. The traces
of the first pair, the tested one, are compared with the stored ones (tests/golden/*.json), which another
processor may have made; those of the other pairs with the first pair's of the same machine. The table says by
how much a trace's numbers move at most, relative to their size, and whether a text is another one.
"""

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.golden.traces import drift, stored

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "outputs" / "drift"
PAGE = REPOSITORY / "docs" / "drift.md"
PAIRS = (
    "2.13.0:5.23.0",
    "2.13.0:5.17.0",
    "2.13.0:newest",
    "2.11.0:5.17.0",
    "2.11.0:newest",
    "newest:newest",
)
"""torch:transformers; the tested pair, then the oldest and the newest that pyproject.toml allows."""

_HEAD = """# Drift

What other versions of torch and transformers do to results, by the golden traces (short fixed runs on the
micro backbone: 4 steps, a few rows). `make drift` measures it anew. A relative difference is the greatest
over all numbers of a trace; the suite's own tolerance is 1e-4. The first row has the versions of
constraints.txt, against the stored traces: what differs there is the processor's doing. Every other row is
against the first row's traces on the same machine: what differs there is the versions' doing.

| torch | transformers | against | traces | bit for bit | within 1e-4 | above | other answers | refused |
|---|---|---|---|---|---|---|---|---|
"""
_KNOWN = """
## What is known

PyTorch 2.11's `torch.nn.init.trunc_normal_` draws other numbers from a seed than 2.13's. Methods that
begin with it (Houlsby-Adapter, Adapter-FFN, AdapterDrop) have there what is another seed's result here.
"""
_FREE = ("torch", "setuptools", "transformers", "tokenizers", "huggingface-hub", "huggingface_hub")
"""Packages whose versions a pair decides."""

_MAKE = """
import json, sys
from tests.golden.traces import makers
found = {}
for file, own in makers().items():
    for name, make in sorted(own.items()):
        try:
            found[f"{file}/{name}"] = {"trace": make()["trace"]}
        except Exception as error:
            found[f"{file}/{name}"] = {"error": f"{type(error).__name__}: {error}"}
import torch, transformers
json.dump({"torch": torch.__version__, "transformers": transformers.__version__, "traces": found}, sys.stdout)
"""


def environment(pair: str) -> Path:
    """Make the virtual environment of a pair, or take the one that is there; return its Python."""
    folder = FOLDER / pair.replace(":", "-")
    python = folder / "bin" / "python"
    if (folder / "installed").is_file():
        return python
    venv.create(folder, with_pip=True, clear=True)
    wanted = []
    for name, version in zip(("torch", "transformers"), pair.split(":"), strict=True):
        wanted.append(name if version == "newest" else f"{name}=={version}")
    pinned = [
        line
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line.partition("==")[0].strip().lower() not in _FREE
    ]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pinned) + "\n")
    command = [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraints)]
    subprocess.run([*command, *wanted, "-e", str(REPOSITORY)], check=True)
    (folder / "installed").touch()
    return python


def measure(pair: str) -> dict[str, Any]:
    """Make every golden trace under a pair of versions."""
    done = subprocess.run(
        [str(environment(pair)), "-c", _MAKE],
        cwd=REPOSITORY,
        env={
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HOME": str(FOLDER),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{pair}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compared(
    made: Mapping[str, Mapping[str, Any]], base: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return for each trace by how much it moves from `base`, or the error of either."""
    found = {}
    for name, own in made.items():
        other = base[name]
        errors = [one["error"] for one in (own, other) if "error" in one]
        found[name] = {"error": errors[0]} if errors else drift(other["trace"], own["trace"])
    return found


def stored_traces(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the stored traces of some `FILE/NAME`."""
    found = {}
    for one in names:
        file, _, name = one.partition("/")
        found[one] = {"trace": stored(file)[name]["trace"]}
    return found


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the document: a summary a pair of versions, then every trace that moves.

    Args:
        results: What `measure` returned for each pair, the one that the others are compared with first.
    """
    rows, moved = [], []
    first = next(iter(results.values()))["traces"]
    for one in results.values():
        is_first = one["traces"] is first
        base = stored_traces(first) if is_first else first
        traces = compared(one["traces"], base)
        sizes = {name: found["relative"] for name, found in traces.items() if "error" not in found}
        others = [name for name, found in traces.items() if found.get("texts")]
        errors = {name: found["error"] for name, found in traces.items() if "error" in found}
        above = {name: size for name, size in sizes.items() if size > 1e-4}
        counts = (
            len(traces),
            sum(size == 0 for size in sizes.values()) - len(others),
            sum(0 < size <= 1e-4 for size in sizes.values()),
            len(above),
            len(others),
            len(errors),
        )
        rows.append(
            f"| {one['torch']} | {one['transformers']} | {'stored' if is_first else 'first row'} | "
            f"{' | '.join(map(str, counts))} |"
        )
        title = f"\n## torch {one['torch']}, transformers {one['transformers']}\n\n"
        lines = [f"- {name}: moves by {size:.1e}" for name, size in sorted(above.items())]
        lines += [f"- {name}: another answer or text" for name in others if name not in above]
        lines += [f"- {name}: {error}" for name, error in errors.items()]
        if lines:
            moved.append(title + "\n".join(lines) + "\n")
    return _HEAD + "\n".join(rows) + "\n" + "".join(moved) + _KNOWN


def _kept(pair: str) -> Path:
    """Return the file of a pair's traces."""
    return FOLDER / f"{pair.replace(':', '-')}.json"


def _in_order(paths: Iterable[Path]) -> list[Path]:
    """Return the results of the pairs in the order of PAIRS, others last."""
    order = [pair.replace(":", "-") for pair in PAIRS]
    return sorted(paths, key=lambda path: (*order, path.stem).index(path.stem))


def main(arguments: Sequence[str]) -> int:
    """Measure the pairs asked for and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="*", default=list(PAIRS))
    given = parser.parse_args(arguments)
    if PAIRS[0] not in given.pairs and not _kept(PAIRS[0]).is_file():
        given.pairs.insert(0, PAIRS[0])  # what the others are compared with
    FOLDER.mkdir(parents=True, exist_ok=True)
    for pair in given.pairs:
        print(f"{pair}: traces under these versions", file=sys.stderr, flush=True)
        _kept(pair).write_text(json.dumps(measure(pair)))
        known = {
            path.stem: json.loads(path.read_text()) for path in _in_order(FOLDER.glob("*.json"))
        }
        PAGE.write_text(page(known), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
