"""Placing: where the names of points stand on a chart, so that none covers another name or a point."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Pair = tuple[float, float]
_Box = tuple[float, float, float, float]

_LETTER, _HEIGHT = 6.5, 11.0
"""Pixels of a letter and of a line of text at 11 pixels."""
_POINT = 4.0
_BESIDE = 6.0
_NEAR = 14.0
"""Pixels between a point and its name above which a line joins them."""


@dataclass(frozen=True)
class Name:
    """Where a name stands: its left end on the base line, and the end of a line from its point, if any."""

    x: float
    y: float
    joint: Pair | None


def placed(points: Sequence[Pair], names: Sequence[str], room: _Box) -> list[Name]:
    """Return a place for each name, as near to its point as the names before it leave.

    Args:
        points: Coordinates of the points, y downwards.
        names: Their names.
        room: Left, top, right and bottom of the chart.
    """
    taken: list[_Box] = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    found = []
    for (x, y), name in zip(points, names, strict=True):
        width = _LETTER * len(name)
        places = sorted(
            (one for one in _places(x, y, width) if _within(_box(one, width), room)),
            key=lambda one: math.dist((x, y), _end((x, y), one, width)),
        )
        free = (one for one in places if not any(_meet(_box(one, width), box) for box in taken))
        left, base = next(free, places[0] if places else (x + _BESIDE, y - _BESIDE))
        taken.append(_box((left, base), width))
        end = _end((x, y), (left, base), width)
        found.append(Name(left, base, end if math.dist((x, y), end) > _NEAR else None))
    return found


def _places(x: float, y: float, width: float) -> Iterator[Pair]:
    """Yield places for a name: right, left, above and below its point, and further away."""
    for step in range(25):
        for side in (-step, step) if step else (0,):
            base = y + 3.0 + side * _HEIGHT / 2
            yield x - width / 2, base
            for away in (0.0, 30.0, 60.0):
                yield x + _BESIDE + away, base
                yield x - _BESIDE - away - width, base


def _end(point: Pair, place: Pair, width: float) -> Pair:
    """Return where a line from a point meets a name: at the middle of its height."""
    left, base = place
    return min(max(point[0], left), left + width), base - 3.0


def _box(place: Pair, width: float) -> _Box:
    left, base = place
    return left, base - _HEIGHT + 2, left + width, base + 2


def _within(box: _Box, room: _Box) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
