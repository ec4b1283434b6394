"""`data=files data.root=DIR`: official downloads on this machine, read from `DIR/<task>/`.

A split's file is found by name: first the names that official releases use, then anything that
begins like the split (`train*`; `validation*`, `val*` or `dev*`) with a known ending. Two files
that could both be a split stop the run. Files of test rows are never read, since official test rows
carry no label, except for tasks whose split rule is `given`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pedro_bench import checks
from pedro_bench.data.formats import SUFFIXES, Layout, read_rows
from pedro_bench.errors import ConfigError, DataError, near_folder
from pedro_bench.protocols.task import DataSource, Located, Task

_PREFIXES = {
    "train": ("train",),
    "validation": ("validation", "val", "dev"),
    "test": ("test",),
}
_OFFICIAL = {
    "train": ("train", "train-v1.1", "trainset", "{task}_data"),
    "validation": ("validation", "val", "valid", "dev", "dev-v1.1", "devset"),
    "test": ("test", "testset_w_refs"),
}
_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")


@dataclass(frozen=True, kw_only=True)
class FilesSource(DataSource):
    """Files under a root folder, one folder a task.

    Attributes:
        root: The root folder; `~` is the home folder, a relative path starts where you are.
    """

    root: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None:
            raise ConfigError(
                "data.root must be the folder that holds <task>/ folders, got null: "
                "give data.root=DIR with data=files."
            )
        checks.text("data.root", self.root)

    def read(self, task: Task) -> dict[str, list[Located]]:
        """Read the files of a task; `validation` is absent where a holdout stands in for it."""
        layout = layout_of(task)
        return {
            split: [row for path in paths for row in read_rows(path, layout)]
            for split, paths in self.paths(task).items()
        }

    def fingerprint(self, task: Task) -> str:
        """Return a SHA-256 over the bytes of the files."""
        digest = hashlib.sha256()
        for split, paths in self.paths(task).items():
            for path in paths:
                digest.update(f"{split}{path.suffix.lower()}".encode())
                try:
                    with path.open("rb") as stream:
                        digest.update(hashlib.file_digest(stream, "sha256").digest())
                except OSError as error:
                    raise DataError(f"{path} must be readable, got {error.strerror}.") from None
        return f"files:{digest.hexdigest()}"

    def paths(self, task: Task) -> dict[str, list[Path]]:
        """Return the files of each split; several only where a split is cut into numbered shards.

        Raises:
            DataError: If the folder or a file is missing or may not be read, or two files could be one split.
        """
        try:
            return self._paths(task)
        except OSError as error:
            raise DataError(
                f"data.root must be a folder that can be read, got {str(self.root)!r} ({error.filename}: "
                f"{error.strerror})."
            ) from error

    def _paths(self, task: Task) -> dict[str, list[Path]]:
        folder = self._folder(task)
        found = {
            split: find_split(folder, split, task.name, own)
            for split, own in task.official_splits.items()
        }
        for split, paths in found.items():
            stands_in = split == "validation" and self.may_lack_validation(task)
            if not paths and not stands_in:
                raise DataError(_absent(folder, split))
        return {split: paths for split, paths in found.items() if paths}

    def _folder(self, task: Task) -> Path:
        root = Path(str(self.root)).expanduser()
        folder = root / task.name
        if not root.is_dir():
            raise DataError(f"data.root must be a folder, got {str(self.root)!r}.")
        if not folder.is_dir():
            others = [path.name for path in root.iterdir() if path.is_dir()]
            raise DataError(
                f"data.root must hold a folder {task.name!r} with the task's files, got none in "
                f"{str(root)!r}.{near_folder(task.name, others)}"
            )
        return folder


def layout_of(task: Task) -> Layout:
    """Return what a task expects of text tables."""
    aliases = getattr(task, "aliases", {})
    names = {field: (field, *aliases.get(field, ())) for field in task.fields}
    return Layout(names, task.columns, task.broken_rows)


def find_split(folder: Path, split: str, task_name: str, own_name: str | None = None) -> list[Path]:
    """Return the file of a split, or its shards in order, or nothing.

    Where the split has a name of its own, such as `validation_matched` or `train_sft`, files of other
    splits of its kind are passed over.

    Raises:
        DataError: If several files could be this split, or shards are missing.
    """
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix.lower() in SUFFIXES and "unlabelled" not in path.stem
    ]
    stems = {name.format(task=task_name) for name in _OFFICIAL[split]}
    prefixes = _PREFIXES[split]
    if own_name not in (None, split):
        prefixes = _own_prefixes(split, str(own_name))
        stems |= set(prefixes)
    official = [path for path in files if path.stem.lower() in stems]
    likely = [path for path in files if path.stem.lower().startswith(prefixes)]
    found = official or likely
    if len(found) > 1 and (shards := _whole_shards(found)):
        return shards
    if len(found) > 1:
        raise DataError(
            f"{folder} must hold one {split} file, got {', '.join(path.name for path in found)}: "
            "move away all but one."
        )
    return found


def _own_prefixes(split: str, own_name: str) -> tuple[str, ...]:
    """Return how files of a split with a name of its own begin: `dev_matched` is `validation_matched` too."""
    if not own_name.startswith(split):
        return (own_name,)
    return tuple(f"{prefix}{own_name.removeprefix(split)}" for prefix in _PREFIXES[split])


def _whole_shards(paths: list[Path]) -> list[Path]:
    """Return the shards in order if the files are all shards of one table, else nothing."""
    matches = [_SHARD.match(path.stem) for path in paths]
    parts = [match for match in matches if match is not None]
    if len(parts) != len(paths) or len({(part["stem"], part["count"]) for part in parts}) != 1:
        return []
    missing = set(range(int(parts[0]["count"]))) - {int(part["number"]) for part in parts}
    if missing:
        raise DataError(
            f"{paths[0].parent} must hold all {int(parts[0]['count'])} shards of "
            f"{parts[0]['stem']!r}, got {len(paths)}: fetch number {min(missing):05d} and "
            "what else is missing."
        )
    return paths


def _absent(folder: Path, split: str) -> str:
    held = ", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder"
    names = " or ".join(f"{prefix}*" for prefix in _PREFIXES[split])
    remedy = "add it"
    if split == "validation":
        remedy += ", or give data.holdout=0.2 to let a fifth of the train rows stand in for it"
    return (
        f"{folder} must hold a {split} file named {names} in JSONL, TSV, CSV, JSON or Parquet, got "
        f"{held}: {remedy}."
    )
