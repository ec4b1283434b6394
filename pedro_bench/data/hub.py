"""`data=hub`: the Hub's data sets at the revision that the task's YAML pins.

Rows come through `datasets`, which caches them under HF_HOME; a data set without a pinned revision
is refused, because its rows could change between two runs, and so is a cached copy of another revision.
A folder of this machine may stand in place of a data set; then its files' content counts.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.data.formats import wrong_encoding
from pedro_bench.errors import DataError
from pedro_bench.hub import asked_first
from pedro_bench.protocols.task import DataSource, Located, Task

_COMMIT = re.compile(r"[0-9a-f]{40}")
_OFFLINE = "use data=files data.root=DIR, or a machine whose HF_HOME holds a cached copy"
_KEPT_BY_CLIENTS = (".git", ".cache")


@dataclass(frozen=True, kw_only=True)
class HubSource(DataSource):
    """Data sets of the Hugging Face Hub, at pinned revisions."""

    def read(self, task: Task) -> dict[str, list[Located]]:
        """Load the labelled official splits of a task."""
        hub_id, revision = pinned(task)
        (loaded,) = PinnedDataset(hub_id, revision).load([task.hub_config])
        for split, name in task.official_splits.items():
            stands_in = split == "validation" and self.may_lack_validation(task)
            if name not in loaded and not stands_in:
                remedy = (
                    " or give data.holdout=0.2 to let train rows stand in for it"
                    if split == "validation"
                    else ""
                )
                raise DataError(
                    f"{hub_id} must have a split {name!r}, got {', '.join(loaded)}: check "
                    f"task.hub_id and task.hub_config{remedy}."
                )
        names = {split: name for split, name in task.official_splits.items() if name in loaded}
        try:
            return {
                split: [
                    Located(row, f"{hub_id} {name} row {number}")
                    for number, row in enumerate(loaded[name], start=1)
                ]
                for split, name in names.items()
            }
        except UnicodeDecodeError as error:
            raise wrong_encoding(hub_id, error) from None

    def fingerprint(self, task: Task) -> str:
        """Return data set, configuration and revision, for which nothing is fetched.

        Of a folder of this machine, which has no revision, a SHA-256 over its files stands for both.
        """
        hub_id, revision = pinned(task)
        if Path(hub_id).is_dir():
            return f"folder:{task.hub_config}:{_folder_hash(Path(hub_id))}"
        return f"hub:{hub_id}:{task.hub_config}:{revision}"


def pinned(task: Task) -> tuple[str, str]:
    """Return data set and revision of a task.

    Raises:
        DataError: If the task names no data set, or no full commit as its revision.
    """
    if task.hub_id is None:
        raise DataError(
            f"task.hub_id must name a data set of the Hub for data=hub, got null for task "
            f"{task.name!r}: use data=files data.root=DIR."
        )
    if task.hub_revision is None or not _COMMIT.fullmatch(str(task.hub_revision)):
        raise DataError(
            f"task.hub_revision must be a full commit (40 hexadecimal digits), got "
            f"{task.hub_revision!r}: set task.hub_revision=<commit of {task.hub_id}>, since an "
            "unpinned data set may change."
        )
    return task.hub_id, str(task.hub_revision)


@dataclass(frozen=True)
class PinnedDataset:
    """A data set of the Hub (or a folder in its layout) at one commit; messages name the settings by keys."""

    hub_id: str
    revision: str
    revision_key: str = "task.hub_revision"
    config_key: str = "task.hub_config"

    def load(self, configs: Sequence[str | None]) -> list[Mapping[str, Any]]:
        """Load configurations, each as split name -> rows; the Hub is asked once for all of them.

        Raises:
            DataError: If one is neither reachable nor cached at this revision; one sentence with the
                remedy.
        """
        with _asked(self.hub_id, self.revision) as no_answer:
            return [self._load(config, no_answer) for config in configs]

    def _load(self, config: str | None, no_answer: str | None) -> Mapping[str, Any]:
        from datasets import load_dataset

        place = f"{self.hub_id} ({config or 'default'}) at revision {self.revision}"
        try:
            loaded: Mapping[str, Any] = load_dataset(self.hub_id, config, revision=self.revision)
        except Exception as error:
            raise DataError(self._explain(place, error, no_answer)) from error
        self._refuse_another_revision(place, loaded)
        return loaded

    def _refuse_another_revision(self, place: str, loaded: Mapping[str, Any]) -> None:
        """Refuse what `datasets` takes when the Hub is out of reach: its newest copy, of any revision.

        Raises:
            DataError: If the rows lie in the cache of another commit.
        """
        for split in loaded.values():
            for file in split.cache_files:
                commit = Path(file["filename"]).parent.name
                if _COMMIT.fullmatch(commit) and commit != self.revision:
                    raise DataError(
                        f"{place} must be reachable or cached, got a cached copy of revision {commit}: "
                        f"{_OFFLINE}, or set {self.revision_key}={commit} if that is what you want."
                    )

    def _explain(self, place: str, error: Exception, no_answer: str | None) -> str:
        """Turn an error of the Hub's libraries into one sentence."""
        if no_answer is not None:
            return f"{place} must be reachable or cached, got {no_answer}: {_OFFLINE}."
        names = {kind.__name__ for kind in type(error).__mro__}
        # A DatasetGenerationError says nothing itself.
        shown = (error.__cause__ if "DatasetGenerationError" in names else None) or error
        reason = " ".join(str(shown).split())[:200].rstrip(".") or type(error).__name__
        if "gated" in reason.lower() or "GatedRepoError" in names:
            return (
                f"{place} must be open to you, got a gated data set ({reason}): ask for access on the "
                f"Hub and log in, or {_OFFLINE}."
            )
        if "RevisionNotFoundError" in names or "revision" in reason.lower():
            return (
                f"{place} must exist, got no such revision ({reason}): correct {self.revision_key}, or "
                f"{_OFFLINE}."
            )
        if "BuilderConfig" in reason:
            return f"{place} must exist, got no such configuration ({reason}): correct {self.config_key}."
        return f"{place} must be reachable or cached, got {reason}: {_OFFLINE}."


def _asked(hub_id: str, revision: str) -> AbstractContextManager[str | None]:
    """Ask the Hub once; a folder of this machine under the same name needs no Hub."""
    if Path(hub_id).is_dir():
        return nullcontext()
    return asked_first("dataset", hub_id, revision)


def _folder_hash(folder: Path) -> str:
    """Return a SHA-256 over the names and bytes of a folder's files.

    Raises:
        DataError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(_files_in(folder)):
        try:
            content = files.sha256_of(path)
        except OSError as error:
            raise DataError(f"{path} must be readable, got {error.strerror or error}.") from None
        digest.update(os.fsencode(f"{path.relative_to(folder).as_posix()} {content}\n"))
    return digest.hexdigest()


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder but those that git and the Hub's client keep for themselves."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in _KEPT_BY_CLIENTS]
        yield from (Path(place, name) for name in names)
