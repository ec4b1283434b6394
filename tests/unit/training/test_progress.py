"""Progress: a log line where there is no terminal, a bar on standard error where there is one."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.training import progress
from pedro_bench.training.progress import Board, TrainingProgress, send_progress

ENTRY = {"step": 50, "epoch": 1.0, "train_loss": 1.25, "dev_loss": 0.5, "lr": 0.1}


def test_without_a_terminal_an_evaluation_is_one_log_line(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO), TrainingProgress("pedro seed 0", 200) as shown:
        shown.step(50, 1.2, 3000.0)
        shown.evaluation(ENTRY, 3000.0, is_best=True)
    assert [record.getMessage() for record in caplog.records] == [
        "pedro seed 0: step 50 of 200, train loss 1.2500, dev loss 0.5000 (best so far), "
        "3,000 tokens/s"
    ]
    assert capsys.readouterr().out == ""


def test_other_processes_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    shown = TrainingProgress("pedro seed 0", 200, is_shown=False)
    with caplog.at_level(logging.INFO), shown:
        shown.evaluation(ENTRY, 3000.0, is_best=False)
    assert caplog.records == []


def test_on_a_terminal_the_bar_goes_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with TrainingProgress("pedro seed 0", 200) as shown:
        shown.step(50, 1.2, 3000.0)
        shown.evaluation(ENTRY, 3000.0, is_best=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "dev loss 0.5000, 3,000 tokens/s" in " ".join(captured.err.split())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(progress, "_send", None)
    send_progress(stream)
    return stream


def test_a_worker_sends_what_it_would_show(
    sent: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingProgress("pedro seed 0", 200) as shown:
        shown.step(1, 1.5, 10.0)
        shown.step(2, 1.4, 10.0)  # too soon after the first
        shown.evaluation(ENTRY, 3000.0, is_best=True)
    with TrainingProgress("another rank", 200, is_shown=False):
        pass
    events = [json.loads(line) for line in sent.getvalue().splitlines()]
    own = {"title": "pedro seed 0", "total": 200}
    assert events[:2] == [{**own, "step": 0}, {**own, "step": 1, "loss": 1.5, "rate": 10.0}]
    assert events[2]["line"].startswith("pedro seed 0: step 50 of 200, train loss 1.2500")
    assert events[3:] == [{"ended": True}]
    assert capsys.readouterr().err == ""


def test_a_board_has_a_bar_for_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Board() as board:
        for worker, title in enumerate(("pedro seed 0", "pedro seed 1")):
            board.show(worker, {"title": title, "total": 9, "step": 0})
        board.show(1, {"title": "pedro seed 1", "total": 9, "step": 4, "loss": 1.0, "rate": 2.0})
        bars = [(bar.description, bar.completed) for bar in board.bars]
        assert bars == [("pedro seed 0", 0), ("pedro seed 1", 4)]
        board.show(0, {"ended": True})
        board.show(1, {"title": "the next phase", "total": 5, "step": 0})
        assert [(bar.description, bar.total) for bar in board.bars] == [("the next phase", 5)]


def test_a_board_follows_a_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    script = (
        'import sys; print(\'{"title": "a", "total": 9, "step": 3}\'); print(\'from a library\');'
        "print('a warning', file=sys.stderr)"
    )
    pipe = subprocess.PIPE
    with (
        Board() as board,
        subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe) as process,
    ):
        for thread in board.follow(process):
            thread.join(60)
        assert board.bars == []
    shown = capsys.readouterr().err
    assert "from a library" in shown
    assert "a warning" in shown


PRINTED = [
    *("3", "null", "true", '"text"', "[1]", "{}", '{"step": 3}', '{"ended": false}', '{"line": 3}'),
    *('{"title": "a", "total": "9", "step": 3}', '{"title": "a", "total": 9, "step": null}'),
    *('{"title": 1, "total": 9, "step": 3}', '{"title": "a", "total": 9, "step": 3, "loss": "x"}'),
    *("[" * 5000, "\udcff"),
]


def test_what_a_library_prints_is_text_even_where_it_is_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that stopped reading would let the pipe fill, and the worker wait for ever."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    event = '{"title": "a", "total": 9, "step": 3}'
    file = tmp_path / "printed"
    file.write_text("\n".join([*PRINTED, event]), encoding="utf-8", errors="surrogateescape")
    shown: list[Any] = []
    monkeypatch.setattr(Board, "show", lambda _, worker, event: shown.append(event))
    with Board() as board, subprocess.Popen(["cat", str(file)], stdout=subprocess.PIPE) as process:
        for thread in board.follow(process):
            thread.join(60)
    texts = [line.replace("\udcff", "\ufffd") for line in PRINTED]
    assert shown == [*({"line": text} for text in texts), json.loads(event), {"ended": True}]
