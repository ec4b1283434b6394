"""Two processes that share every optimiser batch train like one, and only the first writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("trained_in_processes.py")


def history(tiny: Path, folder: Path, num_processes: int) -> list[dict[str, Any]]:
    folder.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_processes}"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    done = subprocess.run(
        [*launch, *meeting, str(SCRIPT), str(tiny), "pedro", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(SCRIPT.parent.parent.parent),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        },
    )
    assert done.returncode == 0, done.stderr
    outcomes = [
        json.loads((folder / f"outcome-{rank}.json").read_text()) for rank in range(num_processes)
    ]
    assert all(outcome["adapter"] == outcomes[0]["adapter"] for outcome in outcomes)
    found: list[dict[str, Any]] = outcomes[0]["result"]["history"]
    return found


@pytest.mark.slow
def test_two_processes_train_like_one(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    one = history(tiny_folders["llama"], tmp_path / "one", 1)
    two = history(tiny_folders["llama"], tmp_path / "two", 2)
    for ours, theirs in zip(two, one, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
