"""Text tables of official releases: TSV without quoting, CSV with it, and `meaning||text` lines.

The first line of a TSV or CSV names the columns. Where it names none of the task's fields and the
task says how official tables without that line are laid out (CoLA), it is a row like the others.
"""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pedro_bench.errors import DataError, near_match
from pedro_bench.protocols.data import Located

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
            DataError: If a field has no column.
        """
        names = [cell.strip() for cell in cells]
        known = {name for allowed in self.fields.values() for name in allowed}
        if self.columns and len(names) == len(self.columns) and not known & set(names):
            return list(self.columns), False
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
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise wrong_encoding(f"{path}:{number}", error) from None
            if line.strip():
                yield number, line


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
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}:{start} must be a row of CSV, got cells that break at line {last} "
                f"({error}): a cell with quotation marks in it must be quoted and double them."
            ) from None
        if any(cell.strip() for cell in cells):
            yield start, cells


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
    told = f"nothing stands in field {header[len(row)]!r}" if short else "some follow the last one"
    return (
        f"{place} must have the header's {len(header)} columns ({', '.join(header)}), got "
        f"{len(row)}{beyond}: {told}."
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
