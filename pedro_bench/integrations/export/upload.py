"""Puts an export on the Hub. The token is its client's own business: it is never shown or written here."""

from pathlib import Path

from pedro_bench.errors import ConfigError, UploadError


def require_ready(repository: str) -> None:
    """Require a repository's name and a token, before anything is made.

    Raises:
        ConfigError: If the name is none, there is no token, or the Hub's client is offline.
    """
    from huggingface_hub import errors, get_token, is_offline_mode, utils

    try:
        utils.validate_repo_id(repository)  # type: ignore[attr-defined]  # documented, and not re-exported
    except errors.HFValidationError as error:
        raise ConfigError(
            f"push must be the name of a repository, USER/REPO, got {repository!r}."
        ) from error
    if repository.count("/") != 1:
        raise ConfigError(f"push must be the name of a repository, USER/REPO, got {repository!r}.")
    if is_offline_mode():
        raise ConfigError(
            f"push must have the Hub's client online, got push={repository} with HF_HUB_OFFLINE: unset it."
        )
    if get_token() is None:
        raise ConfigError(
            f"push must have a token that may write to {repository}, got none: set HF_TOKEN, or call "
            "`hf auth login` once."
        )


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder; make the repository where there is none. Return its address.

    Args:
        folder: The export.
        repository: `USER/REPO`.
        private: Whether a repository that is made is private.

    Raises:
        UploadError: If the Hub refuses or does not answer; the export stays where it is.
    """
    import httpx
    from huggingface_hub import HfApi, errors

    hub = HfApi()
    try:
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Export of pedro_bench"
        )
    except (errors.HfHubHTTPError, httpx.HTTPError, OSError) as error:
        response = getattr(error, "response", None)
        reason = type(error).__name__ if response is None else f"status {response.status_code}"
        raise UploadError(
            f"the Hub must take the export, got {reason} for {repository}: it lies whole in {str(folder)!r}; "
            "check the token's rights, then `hf upload` it or export again."
        ) from None
    return str(address)
