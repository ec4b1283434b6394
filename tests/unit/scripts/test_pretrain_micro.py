"""The pre-training script goes through its three phases, and a killed one ends with the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "pretrain_micro.py"
TOKENIZER = ROOT / "pedro_bench" / "backbones" / "micro_weights"
SIZES = {
    "steps": 3,
    "practice-steps": 2,
    "transfer-steps": 4,
    "transfer-curriculum-steps": 2,
    "short-steps": 1,
    "curriculum-steps": 2,
    "warmup-steps": 1,
    "save-every-steps": 1,
    "probe-every-steps": 100,
    "probe-count": 1,
    "batch-size": 2,
    "length": 48,
    "hidden-size": 16,
    "ffn-dim": 24,
    "num-layers": 2,
    "late-layers": 1,
    "threads": 1,
}


def start(folder: Path) -> subprocess.Popen[str]:
    out = folder / "out"
    if not out.exists():
        out.mkdir(parents=True)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(TOKENIZER / name, out)
    sizes = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--out", str(out), "--work", str(folder / "work"), *sizes],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_pretraining_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole))
    for wanted in (2, 6):
        process = start(killed)
        while process.poll() is None and last_step(killed) < wanted:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(start(killed))
    first, second = (load_file(folder / "out" / "model.safetensors") for folder in (whole, killed))
    assert first.keys() == second.keys()
    assert all(bool((first[name] == second[name]).all()) for name in first)
    recipe = json.loads((killed / "out" / "recipe.json").read_text())
    assert recipe["settings"]["late_layers"] == 1
    assert json.loads((killed / "out" / "config.json").read_text())["num_hidden_layers"] == 3


def last_step(folder: Path) -> int:
    try:
        state = json.loads((folder / "work" / "checkpoint" / "state.json").read_text())
    except OSError:
        return 0
    return int(state["step"])
