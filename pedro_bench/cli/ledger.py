"""Ledger: the parameters of methods as a table for people, in the terminal or in Markdown."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench.protocols.backbone import LINEAR_ROLES

NONE = "--"

_WIDE = 140
"""Columns where there is no terminal to ask, so that a file gets one line a method."""


def show(label: str, found: Mapping[str, Any]) -> None:
    """Print the ledger as a table with its notes.

    Args:
        label: The backbone's printed name.
        found: What the command prints with `output=json`.
    """
    table = Table(title=escape(_title(label, found)), title_justify="left")
    for name, is_number in _columns(found):
        table.add_column(
            name, justify="right" if is_number else "left", no_wrap=name != "setting", min_width=8
        )
    for row in found["methods"]:
        table.add_row(*(escape(cell) for cell in _cells(row, found)))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)
    for line in _remarks(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def markdown(label: str, found: Mapping[str, Any]) -> str:
    """Return the ledger as Markdown, with its notes as a list."""
    columns = _columns(found)
    lines = [
        f"{_title(label, found)}\n",
        _line([name for name, _ in columns]),
        _line(["--:" if is_number else "---" for _, is_number in columns]),
        *(_line(_cells(row, found)) for row in found["methods"]),
    ]
    remarks = [f"- {line}" for line in _remarks(found)]
    return "\n".join([*lines, *([""] if remarks else []), *remarks])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _title(label: str, found: Mapping[str, Any]) -> str:
    title = f"Parameters trained on {label}, which has {found['total']:,}"
    if found["budget"] is None:
        return title
    return f"{title}: the size nearest to {found['budget']:,.0f} in matrices"


def _columns(found: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return heading and whether it holds numbers."""
    names = [("method", False), ("setting", False), ("matrices", True), ("trainable", True)]
    names.append(("trainable %", True))
    if found["budget"] is not None:
        return [*names, ("off budget", True)]
    return [*names, ("published", False)] if any(map(_published, found["methods"])) else names


def _cells(row: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    cells = [
        row["method"],
        ", ".join(f"{name}={_value(value)}" for name, value in row["setting"].items()) or NONE,
        f"{row['matrices']:,}",
        f"{row['trainable']:,}",
        f"{100 * row['trainable'] / row['total']:.3f}",
    ]
    if found["budget"] is not None:
        off = row["off"]
        return [*cells, NONE if off is None else f"{100 * off / found['budget']:+.1f}%"]
    has_published = len(_columns(found)) > len(cells)
    return [*cells, _published(row) or NONE] if has_published else cells


def _published(row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{one['params']} ({one['paper']}, Table {one['table']})" for one in row["published"]
    )


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "all" if value == list(LINEAR_ROLES) else " ".join(map(str, value))
    return "null" if value is None else str(value)


def _remarks(found: Mapping[str, Any]) -> list[str]:
    remarks = list(found["notes"])
    if found["budget"] is not None:
        unsized = [row["method"] for row in found["methods"] if row["size"] is None]
        if unsized:
            remarks.append(f"Without a setting that sizes them, as they are: {', '.join(unsized)}.")
    if found["missing"]:
        names = ", ".join(found["missing"])
        remarks.append(f"Published for this backbone, but not among the methods here: {names}.")
    return remarks
