import re

import pytest
from matplotlib.figure import Figure

from pedro_bench.reporting.ticks import AMOUNTS, BYTES, JOULES, PLAIN, logarithmic, ticks

GIB = 2**30

RANGES = [
    (12.78 * GIB, 12.81 * GIB, BYTES),  # four methods of one backbone
    (24.3 * GIB, 28.8 * GIB, BYTES),
    (300.0, 15 * GIB, BYTES),
    (1.3 * GIB, 3.9 * GIB, BYTES),
    (2.5 * 2**20, 600 * 2**20, BYTES),
    (900e3, 1.3e6, AMOUNTS),
    (4.6e3, 22.6e6, AMOUNTS),
    (4100.0, 4300.0, JOULES),
    (500.0, 90e3, JOULES),
    (960.0, 1040.0, PLAIN),
    (10_000.0, 1_500_000.0, PLAIN),
    (3.0, 4.0, PLAIN),
    (1e-9, 1e9, PLAIN),
    (1.0, 1.0001, PLAIN),
]


def value_of(label, units):
    """What a label says, read by a person's rules."""
    number, name = re.fullmatch(r"([\d.e+-]+)(.*)", label).groups()
    return float(number) * next(size for size, own in units if own == name)


@pytest.mark.parametrize(("low", "high", "units"), RANGES)
def test_labels_differ_and_say_where_they_stand(low, high, units):
    found = ticks(low, high, units)
    assert 3 <= len(found) <= (6 if units is BYTES else 9)
    assert len(set(found.values())) == len(found)
    for place, label in found.items():
        assert low <= place <= high
        assert value_of(label, units) == pytest.approx(place, rel=1e-9)


def test_places_worked_by_hand():
    assert list(ticks(0.9e6, 6e6, AMOUNTS).values()) == ["1M", "2M", "5M"]
    assert list(ticks(200 * 2**20, 5 * GIB, BYTES).values()) == [
        "256 MiB", "512 MiB", "1 GiB", "2 GiB", "4 GiB",
    ]  # fmt: skip
    close = list(ticks(12.78 * GIB, 12.81 * GIB, BYTES).values())
    assert close == ["12.78 GiB", "12.79 GiB", "12.8 GiB", "12.81 GiB"]


@pytest.mark.parametrize("axis", ["x", "y"])
def test_an_axis_shows_the_ticks_of_what_is_in_view(axis):
    panel = Figure().add_subplot()
    values = [13_728_977_920, 13_730_031_616, 13_748_710_912]
    panel.plot(*((values, [1, 2, 3]) if axis == "x" else ([1, 2, 3], values)))
    logarithmic(panel, axis, BYTES)
    panel.figure.canvas.draw()
    own = panel.xaxis if axis == "x" else panel.yaxis
    labels = [label.get_text() for label in own.get_majorticklabels()]
    assert own.get_scale() == "log"
    assert len(labels) >= 3
    assert len(set(labels)) == len(labels)
    assert not any(label.get_text() for label in own.get_minorticklabels())
