"""The Hub: asked whether it is there, with little patience, before its client is let loose.

huggingface_hub asks a silent server for one file seven times, most of them with a minute's patience, and
only then looks into its cache. Here it is asked `TRIES` times for `PATIENCE` seconds each; a Hub that says
nothing is not asked again, and what is cached counts.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

PATIENCE = 10.0
"""Seconds in which the Hub must answer."""

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
    silence = _silence(kind, repository, revision)
    if silence is None:
        yield None
        return
    with _offline():
        yield silence


def _silence(kind: Literal["model", "dataset"], repository: str, revision: str) -> str | None:
    """Return why the Hub did not answer, or None if it did."""
    from huggingface_hub import HfApi, constants, errors, is_offline_mode

    if is_offline_mode():
        return "HF_HUB_OFFLINE"
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_PAUSE)
        try:
            HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=PATIENCE)
        except errors.HfHubHTTPError as error:
            if error.response.status_code < 500:
                return None  # a refusal; the client meets it again and says which
            reason = f"status {error.response.status_code}"
        except Exception as error:  # noqa: BLE001 - no network, no answer, no JSON: each library has its own
            reason = type(error).__name__
        else:
            return None
    return f"{reason} from {constants.ENDPOINT} in {TRIES} tries"


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
