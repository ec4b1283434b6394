"""Fitting: a block cut into parts that fit on a page of LaTeX's plain `article`, the narrowest there is.

A block that is too wide is set small; if that is not enough, its texts are broken into lines, or where it
has one column of text, its other columns are shared out over several tables. One that is too high is shared
out by rows, and the heading that a row stands under is repeated. Widths are estimated from above.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pedro_bench.reporting.cells import Block, GridRow, Text

WIDTH, HEIGHT = 345.0, 400.0
"""Points that rows may take; a page of text is 550 high, and has room for a caption and some notes too."""

_SIZES = {False: (9.2, 4.6, 6.0, 12.0), True: (7.3, 4.0, 3.0, 8.6)}
"""Is small -> (em of letters, width of a figure, half the space between columns, height of a line)."""
_NARROW = frozenset("ijlftIr.,:;'|![]() ")
_WIDE = frozenset("mwMW%@†<>−+=&#")
_LABEL = 115.0
"""Points of a row's name above which it is broken into lines."""
_MOST_LINES = 4
_GAP = 4.0
"""Points of a rule, or of the space between rows of several lines."""


@dataclass(frozen=True)
class Part:
    """What one table shows of a block.

    Attributes:
        block: Its header and rows; the last part of a block has the notes.
        is_small: Whether it is set in a small size.
        lines: For each row, for each cell, the lines that its text is broken into.
        number: From 1, of `of` parts.
        of: Number of parts of the block.
    """

    block: Block
    is_small: bool
    lines: tuple[tuple[tuple[str, ...], ...], ...]
    number: int = 1
    of: int = 1


def parts(block: Block) -> list[Part]:
    """Return the tables that show a block, in order."""
    is_small = _width(block, is_small=False) > WIDTH
    made = []
    for columns in _shares(block, is_small=is_small):
        own = _with_columns(block, columns)
        lines = _broken(own, is_small=is_small)
        for chosen in _chunks(own, lines, is_small=is_small):
            rows = tuple(own.rows[place] for place in chosen)
            made.append(
                Part(
                    Block(own.caption, own.header, rows, (), own.text_columns),
                    is_small,
                    tuple(lines[place] for place in chosen),
                )
            )
    last = len(made)
    return [
        Part(
            Block(
                one.block.caption,
                one.block.header,
                one.block.rows,
                block.notes if number == last else (),
                block.text_columns,
            ),
            one.is_small,
            one.lines,
            number,
            last,
        )
        for number, one in enumerate(made, start=1)
    ]


def headings(header: Sequence[str]) -> list[tuple[str, str]]:
    """Return every heading as its name and the metric in brackets behind it, empty where there is none."""
    found = []
    for heading in header:
        name, opening, metric = heading.rpartition(" (")
        found.append((name, f"({metric}") if opening and heading.endswith(")") else (heading, ""))
    return found


def width_of(text: str, *, is_small: bool) -> float:
    """Return about how many points a text takes, rather more than less."""
    em, figure, _, _ = _SIZES[is_small]
    return sum(
        figure
        if sign.isdigit()
        else em
        * (0.37 if sign in _NARROW else 0.9 if sign in _WIDE else 0.78 if sign.isupper() else 0.54)
        for sign in text
    )


def _cell_width(cell: Text, *, is_small: bool) -> float:
    own = width_of(cell.plain + ("†" if cell.differs else ""), is_small=is_small)
    return own * (1.15 if cell.place == 1 else 1.0)


def _width(block: Block, *, is_small: bool) -> float:
    """Return the width with every text on one line."""
    return sum(_widths(block, is_small=is_small))


def _widths(block: Block, *, is_small: bool) -> list[float]:
    """Return the width of every column with the space beside it."""
    between = 2 * _SIZES[is_small][2]
    found = []
    for place, (name, metric) in enumerate(headings(block.header)):
        cells = [row.cells[place] for row in block.rows if len(row.cells) > 1]
        wide = [_cell_width(cell, is_small=is_small) for cell in cells]
        wide += [width_of(text, is_small=is_small) for text in (name, metric)]
        found.append(max(wide) + between)
    return found


def _shares(block: Block, *, is_small: bool) -> list[list[int]]:
    """Return the columns of each table, as few tables as possible and as even as that allows."""
    every = list(range(len(block.header)))
    if block.text_columns > 1:
        return [every]
    own, *others = _widths(block, is_small=is_small)
    own = min(own, _LABEL)
    for number in count(1):
        size = -(-len(others) // number)
        shares = [every[1:][start : start + size] for start in range(0, len(others), size)]
        fits = all(own + sum(others[place - 1] for place in one) <= WIDTH for one in shares)
        if fits or size <= 1:
            return [[0, *one] for one in shares]
    raise AssertionError  # `count` does not end


def _with_columns(block: Block, columns: Sequence[int]) -> Block:
    rows = tuple(
        GridRow(
            row.cells if len(row.cells) == 1 else tuple(row.cells[place] for place in columns),
            row.has_rule,
            row.method,
        )
        for row in block.rows
    )
    header = tuple(block.header[place] for place in columns)
    return Block(block.caption, header, rows, (), block.text_columns)


def _broken(block: Block, *, is_small: bool) -> list[tuple[tuple[str, ...], ...]]:
    """Break the texts of the widest columns until the table is narrow enough, or nothing helps."""
    number = [1] * block.text_columns
    widths = _widths(block, is_small=is_small)
    between = 2 * _SIZES[is_small][2]
    while True:
        lines = [
            tuple(
                narrow_lines(cell.plain, number[place], is_small=is_small)
                if place < block.text_columns and len(row.cells) > 1
                else (cell.plain,)
                for place, cell in enumerate(row.cells)
            )
            for row in block.rows
        ]
        for place in range(block.text_columns):
            own = [line for row in lines if len(row) > 1 for line in row[place]]
            own += headings(block.header)[place]
            widths[place] = between + max(width_of(text, is_small=is_small) for text in own)
        is_narrow = sum(widths) <= WIDTH and (block.text_columns > 1 or widths[0] <= _LABEL)
        open_ = [place for place in range(block.text_columns) if number[place] < _MOST_LINES]
        if is_narrow or not open_:
            return lines
        number[min(open_, key=lambda place: (number[place], -widths[place]))] += 1


def narrow_lines(text: str, number: int, *, is_small: bool) -> tuple[str, ...]:
    """Break a text at spaces into at most so many lines, the widest of them as narrow as can be."""
    words = text.split(" ")
    if number == 1 or len(words) == 1:
        return (text,)
    best: tuple[str, ...] = (text,)
    for end in range(1, len(words)):
        rest = narrow_lines(" ".join(words[end:]), number - 1, is_small=is_small)
        tried = (" ".join(words[:end]), *rest)
        if _widest(tried, is_small=is_small) < _widest(best, is_small=is_small):
            best = tried
    return best


def _widest(lines: Sequence[str], *, is_small: bool) -> float:
    return max(width_of(line, is_small=is_small) for line in lines)


def _chunks(
    block: Block, lines: Sequence[Sequence[Sequence[str]]], *, is_small: bool
) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each table; a heading never stands last."""
    line = _SIZES[is_small][3]
    high = [
        line * max(map(len, texts)) + _GAP * (row.has_rule or len(texts[0]) > 1)
        for row, texts in zip(block.rows, lines, strict=True)
    ]
    share = sum(high) / (math.ceil(sum(high) / HEIGHT) or 1)
    chosen: list[int] = []
    heading: int | None = None
    above = 0.0
    end = share
    for place, row in enumerate(block.rows):
        if above >= end:
            end += share
            while len(block.rows[chosen[-1]].cells) == 1:
                chosen.pop()
            yield chosen
            chosen = [heading] if len(row.cells) > 1 and heading is not None else []
        if len(row.cells) == 1:
            heading = place
        chosen.append(place)
        above += high[place]
    if chosen:
        yield chosen
