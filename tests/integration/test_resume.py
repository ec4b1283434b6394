"""A training killed with SIGKILL at any moment ends with the bits of the uninterrupted one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.training.saved_folder import read_folder

SCRIPT = Path(__file__).with_name("killed_training.py")
LAST = "checkpoint-*"
METHODS = ("full_ft", "lora", "ia3", "pedro", "averaging")


def outcome(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return found


@pytest.mark.parametrize("method", METHODS)
def test_killed_again_and_again_the_bits_are_the_same(
    method: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_folders["llama"]), method, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent.parent), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["killed"] >= 2
    whole, killed = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    assert killed["adapter"] == whole["adapter"]
    for field in ("history", "best_step", "best_dev_loss", "steps", "stopped_early"):
        assert killed["result"][field] == whole["result"][field], field
    assert killed["result"]["resumed_from"] is not None
    assert whole["result"]["resumed_from"] is None
    assert_same_last_state(tmp_path / "whole", tmp_path / "killed")


def assert_same_last_state(whole: Path, killed: Path) -> None:
    """Compare everything the last checkpoints hold: weights, moments, random and own state."""
    paths = [max((folder / "phase-0").glob(LAST)) for folder in (whole, killed)]
    assert paths[0].name == paths[1].name
    first, second = (read_folder(path).tensors for path in paths)
    assert first.keys() == second.keys()
    for part, tensors in first.items():
        assert tensors.keys() == second[part].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, second[part][name]), f"{part}: {name}"
    assert first["optimiser"]
    assert first["random"]
