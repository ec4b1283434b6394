"""Small real commands in processes of their own, for tests of grids and faults."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def write_sst2(folder: Path) -> Path:
    """Write a tiny sst2 in JSONL; return the folder for `data.root`."""
    place = folder / "sst2"
    place.mkdir(parents=True)
    for name, count in (("train", 40), ("validation", 20)):
        rows = [
            {"sentence": f"a {'good' if i % 2 else 'bad'} film {i}", "label": i % 2}
            for i in range(count)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def arguments(tiny: Path, data: Path, *more: str) -> list[str]:
    """Return overrides of a run that takes a second or two."""
    return [
        "task=sst2",
        "data=files",
        f"data.root={data}",
        "backbone=causal_lm",
        f"backbone.path={tiny}",
        "method=lora",
        "trainer.lr=0.01",
        "trainer.max_steps=4",
        "trainer.eval_every_steps=2",
        "evaluation.num_beams=1",
        "seeds=[0]",
        "output=json",
        *more,
    ]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of such a process."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **more,
    }


def start(folder: Path, *overrides: str, **options: Any) -> subprocess.Popen[str]:
    """Start `python -m pedro_bench` in a folder."""
    return subprocess.Popen(
        [*options.pop("before", []), sys.executable, "-m", "pedro_bench", *overrides],
        cwd=folder,
        env=environment(**options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 400) -> tuple[int, str, str]:
    """Wait for such a process; return exit code, standard output and error."""
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, output, errors
