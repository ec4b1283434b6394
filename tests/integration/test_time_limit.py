"""A job that its cluster asks to leave before a time limit is launched again, and goes on where it was."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench.cli import sweep
from pedro_bench.cli.launching import word_of
from pedro_bench.training.interruption import Interrupted
from tests.integration.grids import finish
from tests.integration.test_launchers import at_work, needs, open_gate, two_jobs


@pytest.mark.parametrize(
    ("kind", "again"),
    [(signal.SIGUSR1, True), (signal.SIGUSR2, True), (signal.SIGTERM, False)],
)
def test_the_word_of_a_job_tells_a_time_limit_from_an_end(
    kind: signal.Signals, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_asked(*_: Any, **__: Any) -> None:
        raise Interrupted(f"{kind.name} came.", 128 + kind)

    hydra = SimpleNamespace(
        searchpath=[],
        runtime=SimpleNamespace(cwd=str(tmp_path)),
        sweep=SimpleNamespace(dir=str(tmp_path)),
        job=SimpleNamespace(num=0),
        launcher=SimpleNamespace(_target_="SlurmLauncher"),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(sweep.OmegaConf, "to_container", lambda *_, **__: {})
    monkeypatch.setattr(sweep, "settings_from", lambda *_: SimpleNamespace(fail_fast=False))
    monkeypatch.setattr(sweep.experiment, "work", is_asked)
    sweep.job(SimpleNamespace())  # type: ignore[arg-type]
    word = json.loads(word_of(tmp_path, 0).read_text())
    assert word["again"] is again
    assert word["errors"] == [f"interrupted, {kind.name} came. The same command goes on there."]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_joblib_launcher")
@pytest.mark.fault(
    what="A cluster's time limit draws near for one job of a multirun",
    how="SIGUSR2 to one of two processes in training",
    lost="nothing: it saves, and is launched again when the other job has come to its end",
)
def test_a_job_that_meets_a_time_limit_goes_on(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_jobs(tiny_folders["llama"], tmp_path, 20)
    os.kill(at_work(tmp_path, process)[0], signal.SIGUSR2)
    open_gate(tmp_path)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert [job["errors"] for job in json.loads(output)["jobs"]] == [[], []]
    words = [json.loads(path.read_text()) for path in (tmp_path / "outputs").rglob("job*.json")]
    assert sorted(word["again"] for word in words) == [False, False, True]
