"""Progress: a log line where there is no terminal, a bar on standard error where there is one."""

import logging
import sys

import pytest

from pedro_bench.training.progress import TrainingProgress

ENTRY = {"step": 50, "epoch": 1.0, "train_loss": 1.25, "dev_loss": 0.5, "lr": 0.1}


def test_without_a_terminal_an_evaluation_is_one_log_line(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO), TrainingProgress("pedro seed 0", 200) as progress:
        progress.step(50, 1.2, 3000.0)
        progress.evaluation(ENTRY, 3000.0, is_best=True)
    assert [record.getMessage() for record in caplog.records] == [
        "pedro seed 0: step 50 of 200, train loss 1.2500, dev loss 0.5000 (best so far), "
        "3,000 tokens/s"
    ]
    assert capsys.readouterr().out == ""


def test_other_processes_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    progress = TrainingProgress("pedro seed 0", 200, is_shown=False)
    with caplog.at_level(logging.INFO), progress:
        progress.evaluation(ENTRY, 3000.0, is_best=False)
    assert caplog.records == []


def test_on_a_terminal_the_bar_goes_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with TrainingProgress("pedro seed 0", 200) as progress:
        progress.step(50, 1.2, 3000.0)
        progress.evaluation(ENTRY, 3000.0, is_best=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "dev loss 0.5000, 3,000 tokens/s" in " ".join(captured.err.split())
