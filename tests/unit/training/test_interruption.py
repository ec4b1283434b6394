"""Signals as questions: the first is asked, one right after it is the same, a later one ends at once."""

import os
import signal
import time

import pytest

from pedro_bench.training import interruption as module
from pedro_bench.training.interruption import ENDING, Interrupted, Interruption, TakenOver


def heeding(mine: Interruption, *kinds: signal.Signals) -> None:
    """Send signals to this process, which asks only then whether it shall leave."""
    with mine.heeded():
        for kind in kinds:
            os.kill(os.getpid(), kind)
        assert mine.is_asked
        assert mine.saves
        raise EOFError


def long_step(kind: signal.Signals, seconds: float) -> None:
    """Get a signal and ask only so much later whether to leave."""
    mine = Interruption()
    with mine.heeded():
        os.kill(os.getpid(), kind)
        time.sleep(seconds)
        assert mine.is_asked
        mine.forget()


@pytest.mark.parametrize("kind", [signal.SIGINT, *ENDING])
def test_a_signal_is_a_question(kind: signal.Signals) -> None:
    mine = Interruption()
    with pytest.raises(EOFError):
        heeding(mine, kind)
    with pytest.raises(Interrupted, match=f"{kind.name} came") as caught:
        mine.leave_if_asked()
    assert caught.value.exit_code == 128 + kind
    assert not mine.is_asked


def test_a_second_signal_ends_at_once_unless_it_is_the_first_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A terminal sends Ctrl-C to all processes, and a launcher passes it on."""
    mine = Interruption()
    with pytest.raises(EOFError):
        heeding(mine, signal.SIGINT, signal.SIGTERM)
    mine.forget()
    monkeypatch.setattr(module, "REPEAT_SECONDS", 0)
    with pytest.raises(Interrupted, match="SIGINT came"):
        heeding(mine, signal.SIGINT, signal.SIGTERM)


def test_a_signal_ahead_of_a_time_limit_leaves_a_long_step_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step of a large model takes longer than the grace that Ctrl-C gives."""
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(module, "NOTICE_SECONDS", 60)
    long_step(signal.SIGUSR2, 0.6)
    with pytest.raises(KeyboardInterrupt):
        long_step(signal.SIGTERM, 5)


def taken_over(mine: Interruption) -> None:
    mine.ask("another worker has taken the run over.", saves=False)


def test_a_takeover_is_told_from_a_signal() -> None:
    mine = Interruption()
    taken_over(mine)
    assert not mine.saves
    with pytest.raises(TakenOver, match="another worker"):
        mine.leave_if_asked()
    assert mine.saves


@pytest.mark.parametrize("is_first", [False, True])
def test_a_signal_that_meets_a_takeover_is_answered(*, is_first: bool) -> None:
    """Else the worker would go on with the next run, though it was asked to end."""
    mine = Interruption()
    with pytest.raises(Interrupted, match="SIGTERM came") as caught, mine.heeded():  # noqa: PT012
        if not is_first:
            taken_over(mine)
        os.kill(os.getpid(), signal.SIGTERM)
        if is_first:
            taken_over(mine)
        assert not mine.saves
        mine.leave_if_asked()
    assert not isinstance(caught.value, TakenOver)
    assert caught.value.exit_code == 143
    assert not mine.is_asked
