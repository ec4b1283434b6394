"""Packed suites: the records and predictions of a finished suite in two Parquet files.

    <suite>/packed.parquet               stem, method, task, backbone, key, seed, metric, score, record (JSON)
    <suite>/packed_predictions.parquet   stem, index, prediction, text, likelihood, score

Packing proves that what is read back is what was packed, byte for byte, before a file is removed. A run done
again lies beside the pack as a file, and wins.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.errors import DamagedPackError, RecordError, reason

RECORDS = "packed.parquet"
PREDICTIONS = "packed_predictions.parquet"
_ROW = ("prediction", "text", "likelihood", "score")
"""Columns of a prediction after its index, in the order of its line."""
_RECORD, _PREDICTION = ("stem", "record"), ("stem", "index")
"""Columns that either file must have."""


def stems(folder: Path) -> Sequence[str]:
    """Return the names of the records packed in a suite's folder; none where there is no pack."""
    return tuple(_records(folder))


def holds(path: Path) -> bool:
    """Whether the pack of its suite holds the record at a path."""
    return path.stem in _records(path.parent)


def record(path: Path) -> bytes:
    """Return a packed record as its file would hold it."""
    return _records(path.parent)[path.stem].encode()


def holds_predictions(path: Path) -> bool:
    """Whether the pack of its suite holds the predictions of the record at a path."""
    return path.stem in _places(path.parent)


def predictions(path: Path) -> bytes:
    """Return the packed predictions of the record at a path as their file would hold them."""
    start, length = _places(path.parent)[path.stem]
    table = _table(path.parent / PREDICTIONS, _stamp(path.parent / PREDICTIONS), _PREDICTION)
    return lines_of(table.slice(start, length).to_pylist())


def digest(content: bytes) -> str:
    """Return the SHA-256 that a record keeps of its predictions."""
    return hashlib.sha256(content).hexdigest()


def lines_of(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return predictions as JSON lines; what a row lacks is left out."""
    return "".join(
        json.dumps(
            {"index": row["index"]} | {one: row[one] for one in _ROW if row.get(one) is not None},
            ensure_ascii=False,
        )
        + "\n"
        for row in rows
    ).encode()


def write(folder: Path, content: Mapping[str, bytes], predicted: Mapping[str, bytes]) -> None:
    """Write the two files of a suite's pack, each whole or not at all.

    Args:
        folder: The suite's folder.
        content: Stem -> text of the record, in order.
        predicted: Stem -> its predictions; a run may have none.

    Raises:
        RecordError: If predictions cannot be read back as they are, or the folder cannot be written.
    """
    import pyarrow as pa

    rows = [{"stem": stem, **row} for stem, text in predicted.items() for row in _rows(stem, text)]
    text, number = pa.string(), pa.float64()
    kinds = {"stem": text, "index": pa.int32(), **dict.fromkeys(_ROW, text), "score": number}
    _write(folder / PREDICTIONS, pa.Table.from_pylist(rows, pa.schema(kinds)))
    kinds = dict.fromkeys(("stem", "method", "task", "backbone", "key"), text)
    kinds |= {"seed": pa.int64(), "metric": text, "score": number, "record": text}
    summaries = [_summary(stem, one) for stem, one in content.items()]
    _write(folder / RECORDS, pa.Table.from_pylist(summaries, pa.schema(kinds)))


def _rows(stem: str, text: bytes) -> list[dict[str, Any]]:
    """Return the predictions of one run, which a pack must give back byte for byte."""
    try:
        own = [json.loads(line) for line in text.decode().split("\n")[:-1]]
        is_sound = lines_of(own) == text and all(_is_row(row) for row in own)
    except (ValueError, TypeError, KeyError):
        is_sound = False
    if not is_sound:
        raise RecordError(
            f"predictions of {stem} must be lines as a run writes them, to be packed without loss."
        )
    return own


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether the columns of a pack hold what a prediction has: texts, a score with a point, an index."""
    texts = all(isinstance(row.get(name, ""), str) for name in _ROW[:-1])
    return texts and isinstance(row.get("score", 0.0), float) and type(row["index"]) is int


def _summary(stem: str, content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    kept = {name: found[name] for name in ("method", "task", "backbone", "key", "seed")}
    metric = found["main_metric"]
    score = found.get("metrics", {}).get("test", {}).get(metric)
    return {"stem": stem, **kept, "metric": metric, "score": score, "record": content.decode()}


def _write(path: Path, table: Any) -> None:
    import pyarrow.parquet as parquet

    files.write_whole(path, lambda place: parquet.write_table(table, place, compression="zstd"))


def _records(folder: Path) -> Mapping[str, str]:
    """Return stem -> text of a suite's packed records; empty where there is no pack."""
    path = folder / RECORDS
    stamp = _stamp(path)
    return {} if stamp is None else _texts(path, stamp)


@lru_cache(maxsize=16)
def _texts(path: Path, stamp: tuple[int, int]) -> Mapping[str, str]:
    table = _table(path, stamp, _RECORD)
    names, texts = table.column("stem").to_pylist(), table.column("record").to_pylist()
    return dict(zip(names, texts, strict=True))


def _places(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Return stem -> first row and number of rows in a suite's packed predictions."""
    path = folder / PREDICTIONS
    stamp = _stamp(path)
    return {} if stamp is None else _spans(path, stamp)


@lru_cache(maxsize=16)
def _spans(path: Path, stamp: tuple[int, int]) -> Mapping[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row, stem in enumerate(_table(path, stamp, _PREDICTION).column("stem").to_pylist()):
        start, length = found.get(stem, (row, 0))
        found[stem] = (start, length + 1)
    return found


@lru_cache(maxsize=8)
def _table(path: Path, _stamp: Any, columns: Sequence[str]) -> Any:
    """Read a pack once, and again only if it was replaced.

    Raises:
        DamagedPackError: If it cannot be read, or lacks one of the columns.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
        if absent := [name for name in columns if name not in table.column_names]:
            raise ValueError(f"no column {absent[0]!r}")
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        raise DamagedPackError(
            f"{path} must be a pack of records, got {reason(error)}: restore it from version control."
        ) from error
    return table


def _stamp(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        return files.stamp(path)
    return None
