"""Forest plots: what they draw is what the table's comparisons say."""

import pytest

from pedro_bench.analysis.comparison import Difference
from pedro_bench.reporting.figures import house_style
from pedro_bench.reporting.forest import _limits, compared, forest_data, forest_figure
from tests.unit.analysis.runs import five, only, run


@pytest.fixture
def table(tmp_path):
    five(tmp_path, "pedro", score=80.0)
    five(tmp_path, "lora", score=60.0)
    five(tmp_path, "ia3", score=79.5)
    run(tmp_path, "red", score=50.0)
    run(tmp_path, "pedro", "sst2")
    return only(tmp_path)


def test_marks_stand_at_the_differences_and_separable_ones_are_filled(table):
    (section,) = table.sections
    with house_style():
        figure = forest_figure(table, section)
    (panel,) = figure.axes  # SST-2 has one run, which nothing is compared with
    names = [label.get_text() for label in panel.get_yticklabels()]
    marks = {
        names[round(line.get_ydata()[0])]: (line.get_xdata()[0], line.get_markerfacecolor())
        for line in panel.get_lines()
        if line.get_marker() == "o"
    }
    assert marks == {"LoRA": (pytest.approx(-20), "0.0"), "(IA)$^3$": (pytest.approx(-0.5), "1.0")}
    assert "micro results" in figure.get_suptitle()


def test_the_data_are_those_of_the_comparisons(table):
    (section,) = table.sections
    frame = forest_data(table, section).set_index("row")
    cells = {line.name: line.cells[0] for line in section.lines}
    tested = cells["lora"].from_best
    found = frame.loc["lora"]
    assert (found.low, found.high, found.p) == (
        tested.comparison.low, tested.comparison.high, tested.p,
    )  # fmt: skip
    assert found.low < found.difference < found.high < 0
    assert list(frame.index) == ["ia3", "lora", "pedro"]
    assert (frame.loc["pedro"].difference, frame.loc["pedro"].separable) == (0.0, False)


def test_without_a_comparison_there_is_nothing_to_draw(tmp_path):
    run(tmp_path, "lora")
    run(tmp_path, "pedro")
    table = only(tmp_path)
    assert compared(table, table.sections[0]) == []


def test_an_interval_that_reaches_far_beyond_the_others_is_cut(tmp_path):
    """One method's diverged seed leaves the other intervals as wide as they are."""
    five(tmp_path, "pedro", score=80.0)
    for method in ("lora", "ia3", "bitfit"):
        five(tmp_path, method, score=79.0)
    for seed, score in enumerate((80.0, 79.0, 78.0, 81.0, 5.0)):
        run(tmp_path, "learned_adapter", seed=seed, score=score)
    table = only(tmp_path)
    with house_style():
        figure = forest_figure(table, table.sections[0])
    (panel,) = figure.axes
    low, high = panel.get_xlim()
    frame = forest_data(table, table.sections[0]).set_index("row")
    far, rest = frame.loc["learned_adapter"], frame.drop("learned_adapter")
    assert far.low < low < rest.low.min() and rest.high.max() < high < far.high
    arrows = {
        line.get_marker(): line.get_xdata()[0]
        for line in panel.get_lines()
        if line.get_marker() in ("<", ">")
    }
    assert arrows == {"<": low, ">": high}
    assert [text.get_text() for text in panel.texts] == [f"{far.difference:+.1f}"]


def test_nothing_is_cut_where_half_of_the_intervals_have_no_width():
    """Methods that answer every example alike differ by 0 for certain."""
    same = Difference(0.0, 0.0, 0.0, 1.0, (2, 2), 4)
    other = Difference(-5.0, -8.0, -2.0, 0.01, (2, 2), 4)
    assert _limits([same, same, other]) is None
    assert _limits([]) is None
