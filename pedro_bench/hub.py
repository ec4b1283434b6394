"""The Hugging Face Hub: ask whether it answers, within a few seconds, before its client is used.

huggingface_hub asks a silent server for one file seven times, most of them with a minute's patience, and
only then looks into its cache. Here it is asked `TRIES` times for `PATIENCE` seconds each, however it spends
them; a Hub that says nothing is not asked again, and what is cached counts.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, Literal
from urllib.parse import urlsplit

PATIENCE = 10.0
"""Seconds in which the Hub must have answered."""

TRIES = 2
_PAUSE = 1.0


@contextmanager
def asked_first(
    kind: Literal["model", "dataset"], repository: str, revision: str
) -> Iterator[str | None]:
    """Use the network within the block if the Hub answers now, else only what is cached.

    Args:
        kind: Of the repository.
        repository: Hub id, `owner/name`.
        revision: Commit, 40 hexadecimal digits.

    Yields:
        Why the Hub is not asked again, a few words; None if it answers, be it with a refusal.
    """
    no_answer = _no_answer(kind, repository, revision)
    if no_answer is None:
        yield None
        return
    with _offline():
        yield no_answer


def _no_answer(kind: Literal["model", "dataset"], repository: str, revision: str) -> str | None:
    """Return why the Hub did not answer, or None if it did."""
    from huggingface_hub import HfApi, constants, errors, is_offline_mode

    if is_offline_mode():
        return "HF_HUB_OFFLINE"
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_PAUSE)
        found = _within_patience(
            lambda: HfApi().repo_info(
                repository, repo_type=kind, revision=revision, timeout=2 * PATIENCE
            )
        )
        if found is None:
            return None
        reason = type(found).__name__
        if isinstance(found, errors.HfHubHTTPError):
            if found.response.status_code < 500:
                return None  # a refusal; the client meets it again and says which
            reason = f"status {found.response.status_code}"
    return f"{reason} from {_without_user(constants.ENDPOINT)} in {TRIES} tries"


def _within_patience(ask: Callable[[], Any]) -> Exception | None:
    """Return what a question ended with; TimeoutError if it has not ended in time.

    A client's own limit is for each read, so a server that sends a byte now and then would hold it.
    """
    ends: list[Exception | None] = []

    def put() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - no network, no JSON: each library has its own
            ends.append(error)
        else:
            ends.append(None)

    thread = Thread(target=put, name="hub", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return ends[0] if ends else TimeoutError()


def _without_user(address: str) -> str:
    """Return scheme and host of an address: it may hold a password."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@contextmanager
def _offline() -> Iterator[None]:
    """Let the Hub's libraries, which read their environment once, use their caches alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
