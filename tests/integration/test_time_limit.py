"""A worker asked to leave before a cluster's time limit is replaced, and its run goes on where it was."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.integration.grids import finish
from tests.integration.test_launchers import LAUNCHED, at_work, open_gate, two_runs


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    what="A cluster's time limit draws near for one worker of a grid",
    how="SIGUSR2 to one of two workers in training, of the command's own and of joblib's",
    lost="nothing: it saves and gives its run back, and another worker goes on with it",
)
@pytest.mark.parametrize("launcher", LAUNCHED)
def test_a_run_that_meets_a_time_limit_goes_on(
    launcher: list[str], tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_runs(tiny_folders["llama"], tmp_path, 20, launcher)
    left = at_work(tmp_path, process)[0]
    os.kill(left, signal.SIGUSR2)
    open_gate(tmp_path)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert [job["errors"] for job in json.loads(output)["jobs"]] == [[], []]
    steps = {path.name: int(path.read_text()) for path in (tmp_path / "gate").glob("step-*")}
    assert 6 <= steps.pop(f"step-{left}") < 20
    assert 20 in steps.values()
