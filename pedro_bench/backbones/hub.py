"""Bring a Hub repository at a pinned commit into a local folder; every failure is one sentence.

The local cache is asked first, so a complete snapshot needs no network. `HF_HUB_OFFLINE`,
`HF_TOKEN`, `HF_HOME` and `HF_ENDPOINT` are respected by huggingface_hub itself; a Hub that does
not answer is not waited for (`pedro_bench.hub`).
"""

import logging
from pathlib import Path

from pedro_bench.backbones.folders import has_tokenizer, read_config, weight_files
from pedro_bench.errors import BackboneError
from pedro_bench.hub import asked_first

_logger = logging.getLogger(__name__)

_WANTED = ["*.json", "model*.safetensors", "tokenizer*", "*.model", "*.txt"]
_WANTED_FOR_TEXT = ["*.json", "tokenizer*", "*.model", "*.txt"]
_UNWANTED = ["*/*", "*.bin", "*.gguf"]


def fetch_snapshot(repository: str, revision: str) -> Path:
    """Return the folder of a whole snapshot, from the cache or by download.

    Args:
        repository: Hub id, `owner/name`.
        revision: Commit, 40 hexadecimal digits.

    Raises:
        BackboneError: If it is neither cached nor can be downloaded; with the remedy.
    """
    folder = _cached_or_downloaded(repository, revision, _WANTED)
    try:
        weight_files(folder)
    except BackboneError as error:
        raise BackboneError(
            f"{_place(repository, revision)} must have all its safetensors weights in the local "
            f"cache, got an unfinished or unsuitable snapshot in {folder}: connect to the "
            "network (and unset HF_HUB_OFFLINE) to complete it, or choose a revision with "
            "safetensors weights."
        ) from error
    return folder


def fetch_tokenizer(repository: str, revision: str) -> Path:
    """Return the folder of a snapshot that holds tokenizer and configuration, without the weights.

    Raises:
        BackboneError: If it is neither cached nor can be downloaded; with the remedy.
    """
    return _cached_or_downloaded(repository, revision, _WANTED_FOR_TEXT)


def _cached_or_downloaded(repository: str, revision: str, wanted: list[str]) -> Path:
    """Return a snapshot's folder from the cache, or download what matches and is not there yet.

    Weights that were cached without a tokenizer are enough where nothing can be downloaded: it may be
    another folder's, or the repository has none. Loading says where one is needed.
    """
    cached = _cached_snapshot(repository, revision)
    if cached is not None and has_tokenizer(cached):
        return cached
    try:
        return _download(repository, revision, wanted)
    except BackboneError as error:
        if cached is None:
            raise
        _logger.warning("Cached weights without a tokenizer are used: %s", error)
        return cached


def _download(repository: str, revision: str, wanted: list[str]) -> Path:
    """Download the files of a snapshot that match, and return its folder.

    Raises:
        BackboneError: If that fails; with the remedy.
    """
    from huggingface_hub import snapshot_download

    with asked_first("model", repository, revision) as no_answer:
        try:
            folder = snapshot_download(
                repository,
                revision=revision,
                allow_patterns=wanted,
                ignore_patterns=_UNWANTED,
            )
        except Exception as error:
            raise _explained(error, repository, revision, no_answer) from error
    return Path(folder)


def fetch_config(repository: str, revision: str) -> Path:
    """Return the folder that holds the repository's `config.json` (perhaps nothing else).

    Raises:
        BackboneError: If it is neither cached nor can be downloaded; with the remedy.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached).parent
    with asked_first("model", repository, revision) as no_answer:
        try:
            file = hf_hub_download(repository, "config.json", revision=revision)
        except Exception as error:
            raise _explained(error, repository, revision, no_answer) from error
    return Path(file).parent


def _cached_snapshot(repository: str, revision: str) -> Path | None:
    """Return the cached snapshot if all its weights are there, else None."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(file, str):
        return None
    folder = Path(file).parent
    try:
        read_config(folder)
        weight_files(folder)
    except BackboneError:
        return None  # an unfinished download: it is completed below
    return folder


def _explained(
    error: Exception, repository: str, revision: str, no_answer: str | None
) -> BackboneError:
    """Say in one sentence why a repository could not be had, and what to do."""
    from huggingface_hub import errors

    place = _place(repository, revision)
    elsewhere = "or download it elsewhere and give backbone.path=<folder>"
    if isinstance(error, errors.GatedRepoError):
        return BackboneError(
            f"{place} must be open to you, got a refusal because it is gated: accept the licence "
            f"on its page and set HF_TOKEN, {elsewhere}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BackboneError(
            f"backbone.revision must be a commit of {repository}, got {revision!r}, which the "
            "Hub does not know: copy the commit from the repository's history."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return BackboneError(
            f"{place} must exist on the Hub and be visible to you, got not found: check the name "
            f"and HF_TOKEN, {elsewhere}."
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return BackboneError(
            f"{place} must have a config.json, got none, as repositories of adapters alone and of "
            "GGUF files have it: choose the repository of the model itself."
        )
    return BackboneError(
        f"{place} must be in the local cache or reachable, got {no_answer or type(error).__name__}: "
        f"connect to the network (and unset HF_HUB_OFFLINE), {elsewhere}."
    )


def _place(repository: str, revision: str) -> str:
    return f"backbone.path={repository} at revision {revision[:12]}"
