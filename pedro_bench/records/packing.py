"""Pack a finished suite into two files, and unpack it again; nothing is removed before it was read back."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pedro_bench import files
from pedro_bench.errors import RecordError
from pedro_bench.records import packed, store


@dataclass(frozen=True)
class Packing:
    """What was packed or unpacked: the suite's folder, numbers of records and of predictions."""

    folder: Path
    records: int
    predictions: int


def pack(results_dir: str | Path, suite: str) -> Packing:
    """Pack a suite's records and predictions, those of an earlier pack with them.

    Raises:
        RecordError: If the suite has no records, a run is under way, predictions are absent or not what a
            record says, or the folder cannot be written. Then every file stays where it is.
    """
    folder = store.suite_folder(results_dir, suite)
    paths = store.find(results_dir, suite)
    if not paths:
        hint = store.unknown_suites(results_dir, [suite])
        raise RecordError(
            f"suite must be one with records, got {suite!r} in {str(results_dir)!r}{hint or '.'}"
        )
    content, predicted = dict[str, bytes](), dict[str, bytes]()
    for path in paths:
        record = store.read(path)
        if record.status == "running":
            raise RecordError(
                f"suite {suite!r} must hold no run that is under way, got {path.stem}: wait for it, or "
                "run its command again with retry=true."
            )
        content[path.stem] = store.read_bytes(path)
        if record.predictions is not None:
            predicted[path.stem] = found = store.read_predictions(path)
            if packed.digest(found) != record.predictions["sha256"]:
                raise RecordError(
                    f"the predictions of {path.stem} must be what the record says, got another SHA-256."
                )
    packed.write(folder, content, predicted)
    _check(folder, content, predicted)
    for path in paths:
        for place in (path, store.predictions_path(path)):
            place.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / "predictions").rmdir()
    return Packing(folder, len(content), sum(text.count(b"\n") for text in predicted.values()))


def unpack(results_dir: str | Path, suite: str) -> Packing:
    """Write a pack's records and predictions as files and remove the pack; files that are there stay.

    Raises:
        RecordError: If the suite is not packed, or the folder cannot be written.
    """
    folder = store.suite_folder(results_dir, suite)
    names = packed.stems(folder)
    if not names:
        there = store.find(results_dir, suite)
        hint = "" if there else store.unknown_suites(results_dir, [suite])
        raise RecordError(
            f"suite must be a packed one, got {suite!r} in {str(results_dir)!r}{hint or '.'}"
        )
    rows = 0
    for name in names:
        path = folder / f"{name}.json"
        if packed.holds_predictions(path):
            found = packed.predictions(path)
            rows += found.count(b"\n")
            _write_new(store.predictions_path(path), found)
        _write_new(path, packed.record(path))
    for name in (packed.RECORDS, packed.PREDICTIONS):
        (folder / name).unlink(missing_ok=True)
    return Packing(folder, len(names), rows)


def _write_new(path: Path, content: bytes) -> None:
    if not path.is_file():
        files.write_bytes(path, content)


def _check(folder: Path, content: Mapping[str, bytes], predicted: Mapping[str, bytes]) -> None:
    """Require that the pack gives back what went in."""
    for stem, text in content.items():
        path = folder / f"{stem}.json"
        same = packed.record(path) == text and (
            stem not in predicted or packed.predictions(path) == predicted[stem]
        )
        if not same:
            raise RecordError(
                f"{path} must be read back from the pack as it was, got another text."
            )
