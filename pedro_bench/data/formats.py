"""File formats of official releases: JSON lines, text tables, JSON (also nested) and Parquet.

Every reader yields rows with their place (`file:line`), and answers a broken file with one sentence
that names file, line and field.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pedro_bench import checks
from pedro_bench.data.tables import (
    Layout,
    csv_rows,
    numbered_lines,
    pair_rows,
    tsv_rows,
    wrong_encoding,
)
from pedro_bench.errors import DataError
from pedro_bench.protocols.data import Located

SUFFIXES = (".jsonl", ".tsv", ".csv", ".txt", ".json", ".parquet")
"""Known endings of data files."""

_SQUAD_2 = re.compile(r"v?2(\.\d+)*")
_QUESTION = ("id", "question", "answers", "is_impossible")

_Reader = Callable[[Path, Layout], Iterator[Located]]

_TABLES: dict[str, _Reader] = {".tsv": tsv_rows, ".csv": csv_rows, ".txt": pair_rows}


def read_rows(path: Path, layout: Layout | None = None) -> list[Located]:
    """Read all rows of one file, by its ending.

    Args:
        path: The file.
        layout: What the task expects of text tables; None: the first line names the columns.

    Raises:
        DataError: If the file cannot be read, is broken, or holds no row.
    """
    suffix = path.suffix.lower()
    documents = {".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}
    try:
        found = (
            _TABLES[suffix](path, layout or Layout())
            if suffix in _TABLES
            else documents[suffix](path)
        )
        rows = [flat for row in found for flat in _flattened(row)]
    except OSError as error:
        raise DataError(f"{path} must be readable, got {error.strerror or error}.") from None
    if not rows:
        raise DataError(f"{path} must hold at least one row, got none: fetch the file again.")
    return rows


def _json_lines(path: Path) -> Iterator[Located]:
    for number, line in numbered_lines(path):
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place} must be one JSON object, got text that breaks at column {error.colno} "
                f"({error.msg}): repair the line or fetch the file again."
            ) from None
        yield Located(_mapping(row, place), place)


def _json(path: Path) -> Iterator[Located]:
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise wrong_encoding(str(path), error) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno} must be part of one JSON document, got text that breaks at "
            f"column {error.colno} ({error.msg}): repair it, or name the file .jsonl if it "
            "has one object a line."
        ) from None
    version = None
    if isinstance(document, Mapping):
        version, document = document.get("version"), document.get("data")
    if not isinstance(document, list):
        raise DataError(
            f"{path} must hold a list of rows, or an object whose 'data' is such a list."
        )
    for number, item in enumerate(document, start=1):
        row = _mapping(item, f"{path} row {number}")
        if "paragraphs" in row:
            _refuse_squad_2(path, version)
            yield from _squad_article(row, f"{path} article {number}")
        else:
            yield Located(row, f"{path} row {number}")


def _refuse_squad_2(path: Path, version: Any) -> None:
    if _SQUAD_2.fullmatch(str(version)):
        raise DataError(
            f"{path} must be SQuAD 1.1, got version {version!r}: SQuAD 2.0 has questions without an "
            "answer and other paragraphs; take the files of version 1.1, or give the questions that "
            "have an answer as JSON Lines."
        )


def _squad_article(article: Mapping[str, Any], place: str) -> Iterator[Located]:
    """Yield one row for each question of an article in SQuAD's nested JSON."""
    for paragraph in _list_of(article, "paragraphs", place):
        for question in _list_of(paragraph, "qas", place):
            row = {key: question.get(key) for key in _QUESTION}
            kept = {key: value for key, value in row.items() if value is not None}
            where = f"{place} question {row['id']}"
            if "context" in paragraph:
                kept["context"] = paragraph["context"]
            yield Located({"title": article.get("title"), **kept}, where)


def _flattened(located: Located) -> Iterator[Located]:
    """Turn ReCoRD's nested rows (a passage with several queries) into one row a query."""
    row, place = located
    passage = row.get("passage")
    if not (isinstance(passage, Mapping) and "qas" in row):
        yield located
        return
    text = passage.get("text")
    spans = _list_of(passage, "entities", place)
    if not isinstance(text, str):
        raise DataError(f"{place}: field 'passage.text' must be a text, got {text!r}.")
    entities = [_span(text, span, place) for span in spans]
    for query in _list_of(row, "qas", place):
        answers = [answer.get("text") for answer in _list_of(query, "answers", place)]
        yield Located(
            {
                "passage": text,
                "entities": entities,
                "query": query.get("query"),
                "answers": answers,
                "idx": query.get("idx"),
            },
            place,
        )


def _span(text: str, span: Mapping[str, Any], place: str) -> str:
    """Cut out an entity; ReCoRD counts `end` inclusively."""
    start, end = span.get("start"), span.get("end")
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end < len(text)):
        raise DataError(
            f"{place}: field 'passage.entities' must hold spans within the text, got "
            f"{dict(span)!r}."
        )
    return text[start : end + 1]


def _parquet(path: Path) -> Iterator[Located]:
    from pyarrow import ArrowException
    from pyarrow import parquet as arrow

    try:
        rows = arrow.read_table(path).to_pylist()
    except UnicodeDecodeError as error:
        raise wrong_encoding(str(path), error) from None
    except ArrowException as error:
        first = str(error).split("\n", 1)[0].rstrip(".")
        raise DataError(f"{path} must be a whole Parquet file, got: {first}.") from None
    for number, row in enumerate(rows, start=1):
        yield Located(row, f"{path} row {number}")


def _mapping(row: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise DataError(
            f"{place} must be a JSON object with the task's fields, got {type(row).__name__}."
        )
    _refuse_surrogates(row, place, "")
    return row


def _refuse_surrogates(value: Any, place: str, field: str) -> None:
    """Refuse half a surrogate pair, which JSON can write and UTF-8 cannot, wherever it stands in a row."""
    if isinstance(value, str):
        checks.encodable_text(f"{place}: field {field!r}", value, DataError)
    elif isinstance(value, Mapping):
        for name, held in value.items():
            checks.encodable_text(f"{place}: the name of field {name!r}", name, DataError)
            _refuse_surrogates(held, place, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for number, held in enumerate(value):
            _refuse_surrogates(held, place, f"{field}[{number}]")


def _list_of(holder: Mapping[str, Any], field: str, place: str) -> list[Mapping[str, Any]]:
    items = holder.get(field)
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise DataError(f"{place}: field {field!r} must be a list of objects, got {items!r:.60}.")
    return items
