"""File formats of official releases: JSON lines, text tables, JSON (also nested) and Parquet.

Every reader yields rows with their place (`file:line`), and answers a broken file with one sentence
that names file, line and field. Text tables are TSV without quoting, CSV with it, and `meaning||text` lines.
The first line of a TSV or CSV names the columns. Where it names none of the task's fields and the
task says how official tables without that line are laid out (CoLA), it is a row like the others.
"""

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pedro_bench import checks
from pedro_bench.data.fields import MAX_CHARACTERS
from pedro_bench.errors import DataError, near_match
from pedro_bench.protocols.task import Located

_logger = logging.getLogger(__name__)

PAIR_SEPARATOR = "||"
"""What parts meaning and text in E2E's line format."""


@dataclass(frozen=True)
class Layout:
    """What a task expects of a text table.

    Attributes:
        fields: Field -> all names that its column may have.
        columns: Names of the columns of official tables without a header line, in order.
        broken_rows: Most rows with too few cells that are left out, as official loaders do; one
            more stops the run.
    """

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    broken_rows: int = 0

    def header(self, cells: Sequence[str], place: str) -> tuple[list[str], bool]:
        """Return the names of the columns, and whether the first line is a header line.

        Raises:
            DataError: If a field has no column, or several have its name.
        """
        names = [cell.strip() for cell in cells]
        known = {name for allowed in self.fields.values() for name in allowed}
        if self.columns and len(names) == len(self.columns) and not known & set(names):
            return list(self.columns), False
        for name in known or names:
            if names.count(name) > 1:
                raise DataError(
                    f"{place} must name each column once, got several named {name[:40]!r}: rename or remove "
                    "all but one."
                )
        for allowed in self.fields.values():
            if not set(allowed) & set(names):
                others = f" (or {', '.join(allowed[1:])})" if allowed[1:] else ""
                raise DataError(
                    f"{place} must have a column {allowed[0]!r}{others} in its header line, got "
                    f"{', '.join(repr(name[:40]) for name in names[:12])}."
                    + near_match(allowed[0], [name[:40] for name in names[:12]])
                )
        return names, True


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of lines that are not blank; only line feeds end a line.

    Raises:
        DataError: If a line is not UTF-8.
    """
    for number, line in _every_line(path):
        if line.strip():
            yield number, line.rstrip("\r\n")


def wrong_encoding(place: str, error: UnicodeDecodeError) -> DataError:
    """Return the error for bytes that are not UTF-8."""
    byte = error.object[error.start]
    return DataError(
        f"{place} must be UTF-8 text, got byte 0x{byte:02x} at position {error.start}: "
        "convert the file, for example with iconv."
    )


def tsv_rows(path: Path, layout: Layout) -> Iterator[Located]:
    """Yield the rows of a TSV; a quotation mark is a character like any other, as in GLUE."""
    cells = ((number, line.split("\t")) for number, line in numbered_lines(path))
    yield from _rows(path, cells, layout)


def csv_rows(path: Path, layout: Layout) -> Iterator[Located]:
    """Yield the rows of a CSV; quoted cells may hold commas, quotation marks and line feeds."""
    yield from _rows(path, _csv_cells(path), layout)


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, cells) of each row that is not blank."""
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for last, line in _every_line(path):  # noqa: B007 - the reader's place, for messages
            yield line

    reader = csv.reader(lines(), strict=True)
    while True:
        start = last + 1
        others = csv.field_size_limit(MAX_CHARACTERS)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _broken_csv(path, start, last, str(error)) from None
        finally:
            csv.field_size_limit(others)
        if any(cell.strip() for cell in cells):
            yield start, cells


def _broken_csv(path: Path, start: int, last: int, reason: str) -> DataError:
    """Return the error for a row that begins at a line and breaks at another."""
    if "field limit" in reason:
        return DataError(
            f"{path}:{start} must have cells of at most {MAX_CHARACTERS:,} characters, got one that is "
            f"longer at line {last}: a quotation mark may be missing in the file."
        )
    if "new-line" in reason:
        return _wrong_line_ends(path)
    return DataError(
        f"{path}:{start} must be a row of CSV, got cells that break at line {last} "
        f"({reason}): a cell with quotation marks in it must be quoted and double them."
    )


def _wrong_line_ends(path: Path) -> DataError:
    return DataError(
        f"{path} must have lines that end in a line feed, got carriage returns alone: convert the file, for "
        "example with tr '\\r' '\\n'."
    )


def _every_line(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every line with its number and its line feed, blank ones too."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise wrong_encoding(f"{path}:{number}", error) from None


def _rows(path: Path, cells: Iterator[tuple[int, list[str]]], layout: Layout) -> Iterator[Located]:
    first_number, first = next(cells, (1, []))
    if not first:
        return
    if any("\r" in cell for cell in first):
        raise _wrong_line_ends(path)
    header, is_header = layout.header(first, f"{path}:{first_number}")
    if not is_header:
        yield Located(dict(zip(header, first, strict=True)), f"{path}:{first_number}")
    broken: list[int] = []
    for number, row in cells:
        if len(row) == len(header):
            yield Located(dict(zip(header, row, strict=True)), f"{path}:{number}")
            continue
        broken.append(number)
        if len(row) > len(header) or len(broken) > layout.broken_rows:
            raise DataError(_wrong_columns(f"{path}:{number}", header, row, layout.broken_rows))
    if broken:
        _logger.warning("%s: left out broken rows at lines %s", path, broken)


def _wrong_columns(place: str, header: list[str], row: list[str], allowed: int) -> str:
    beyond = f", after the {allowed} such rows of the official table" if allowed else ""
    short = len(row) < len(header)
    problem = (
        f"nothing stands in field {header[len(row)]!r}" if short else "some follow the last one"
    )
    return (
        f"{place} must have the header's {len(header)} columns ({', '.join(header)}), got "
        f"{len(row)}{beyond}: {problem}."
    )


def pair_rows(path: Path, _: Any = None) -> Iterator[Located]:
    """Yield the rows of a text file with one `meaning||text` a line, as fields `mr` and `ref`."""
    for number, line in numbered_lines(path):
        meaning, separator, text = line.partition(PAIR_SEPARATOR)
        if not separator or PAIR_SEPARATOR in text:
            raise DataError(
                f"{path}:{number} must have fields 'mr' and 'ref' with one {PAIR_SEPARATOR!r} "
                f"between them, got {line.count(PAIR_SEPARATOR)} in {line[:60]!r}."
            )
        yield Located({"mr": meaning, "ref": text}, f"{path}:{number}")


SUFFIXES = (".jsonl", ".tsv", ".csv", ".txt", ".json", ".parquet")
"""Known endings of data files."""

_SQUAD_2 = re.compile(r"v?2(\.\d+)*")
_QUESTION = ("id", "question", "answers", "is_impossible")

_Reader = Callable[[Path, Layout], Iterator[Located]]

_TABLES: dict[str, _Reader] = {".tsv": tsv_rows, ".csv": csv_rows, ".txt": pair_rows}


def read_rows(path: Path, layout: Layout | None = None) -> list[Located]:
    """Read all rows of one file, by its ending; with no layout, a text table's first line names the columns.

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
        except (ValueError, RecursionError) as error:
            raise _beyond_json(place, error) from None
        yield Located(_mapping(row, place), place)


def _beyond_json(place: str, error: ValueError | RecursionError) -> DataError:
    """Return the error for what is JSON, but beyond what Python reads."""
    deep = isinstance(error, RecursionError)
    got = "lists or objects nested too deep" if deep else "a number of thousands of digits"
    return DataError(f"{place} must be JSON that can be read, got {got}: repair it.")


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
    except (ValueError, RecursionError) as error:
        raise _beyond_json(str(path), error) from None
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
