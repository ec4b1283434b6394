"""The wheel brings conf/ and the embedded files, and composes from where it is installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]


@pytest.mark.slow
def test_an_installed_wheel_composes_without_the_repository(tmp_path):
    subprocess.run([*BUILD, "-w", str(tmp_path), str(REPOSITORY)], check=True)
    (wheel,) = tmp_path.glob("pedro_bench-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-m", "pedro_bench", "method=lora", "--cfg"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert json.loads(done.stdout)["method"]["name"] == "lora"
    assert (installed / "pedro_bench" / "conf" / "config.yaml").is_file()
    assert (installed / "pedro_bench" / "py.typed").is_file()
    in_repository = {
        str(path.relative_to(REPOSITORY / "conf")) for path in (REPOSITORY / "conf").rglob("*.yaml")
    }
    packed = installed / "pedro_bench" / "conf"
    assert {str(path.relative_to(packed)) for path in packed.rglob("*.yaml")} == in_repository
