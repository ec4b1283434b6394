import math
import re

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from pedro_bench.analysis.activations import Activations, Coefficients
from pedro_bench.analysis.cells import Column
from pedro_bench.analysis.reading import read_runs
from pedro_bench.analysis.series import Point, curves, has_several_sizes
from pedro_bench.analysis.table import Line
from pedro_bench.nn.vector_generator import GELU_DENOMINATOR, GELU_NUMERATOR
from pedro_bench.reporting.figures import (
    activation_figure,
    budget_figure,
    curve_figure,
    draw_points,
    house_style,
    inline,
    line_style,
    literal,
    rendered,
    swatch,
    typeset,
)
from tests.unit.analysis.runs import five, only, run

INITIAL = Coefficients(GELU_NUMERATOR, GELU_DENOMINATOR)


@pytest.fixture
def budgets(tmp_path):
    for r, score in ((3, 60.0), (12, 70.0), (48, 65.0)):
        five(tmp_path, score=score, r=r, parameters={"matrices": 1000 * r, "trainable": 1100 * r})
    five(tmp_path, "ia3", score=66.0, parameters={"matrices": 9000, "trainable": 9000})
    table = only(tmp_path)
    return table, table.sections[0]


def test_the_budget_figure_draws_medians_and_quartiles_by_matrices(budgets):
    table, section = budgets
    assert has_several_sizes(section)
    with house_style():
        figure = budget_figure(table, section)
    (panel,) = figure.axes
    drawn = {one.get_label(): one for one in panel.containers if isinstance(one, ErrorbarContainer)}
    line, _, (bars,) = drawn["PEDRO"]
    assert line.get_xydata().tolist() == [[3000, 60], [12000, 70], [48000, 65]]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[59, 61], [69, 71], [64, 66]]  # quartiles of score + (2, -1, 0, 1, -2)
    assert drawn["(IA)$^3$"][0].get_xydata().tolist() == [[9000, 66]]
    assert "micro results" in figure.get_suptitle()


def test_the_curve_figure_draws_medians(tmp_path):
    for seed, losses in enumerate(([4.0, 2.0, 1.0], [5.0, 4.0], [9.0, 3.0, 2.0])):
        history = [{"step": 10 * n, "dev_loss": loss} for n, loss in enumerate(losses, start=1)]
        run(tmp_path, seed=seed, history=history)
    table = only(tmp_path)
    shown = curves(table, table.sections[0])
    with house_style():
        (panel,) = curve_figure(table, table.sections[0], shown).axes
    (line,) = panel.get_lines()
    assert line.get_xydata().tolist() == [[10, 5], [20, 3]]
    assert panel.get_yscale() == "log"


def test_the_activation_figure_draws_layers_gelu_and_the_initial_fit(tmp_path):
    path = run(tmp_path)
    flat = Coefficients((0.5, *[0.0] * 6), (0.0,) * 5)
    learned = Activations(INITIAL, dict.fromkeys(range(1, 5), flat))
    with house_style():
        figure = activation_figure(read_runs([path])[0], learned)
    whole, difference = figure.axes
    lines = {line.get_label(): line for line in whole.get_lines()}
    assert list(lines) == ["GELU", "initial fit", "layer 1", "layer 2", "layer 3", "layer 4"]
    assert set(lines["layer 3"].get_ydata()) == {0.5}
    x = lines["GELU"].get_xdata()
    exact = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]
    np.testing.assert_allclose(lines["GELU"].get_ydata(), exact, atol=1e-12)
    fit = lines["initial fit"].get_ydata() - lines["GELU"].get_ydata()
    assert 1e-3 < np.abs(fit).max() < 1.4e-3
    np.testing.assert_array_equal(difference.get_lines()[1].get_ydata(), fit)
    assert "micro results" in figure.get_suptitle()


def test_files_hold_no_date(budgets):
    files = rendered(lambda: budget_figure(*budgets))
    assert files["pdf"].startswith(b"%PDF") and files["png"].startswith(b"\x89PNG")
    assert b"CreationDate" not in files["pdf"]


def test_lines_differ_without_colour():
    styles = [line_style(number) for number in range(36)]
    assert len({(str(one["linestyle"]), one["marker"]) for one in styles}) == 36


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("(IA)$^3$", "(IA)$^3$"),
        (r"FT$^{\mathrm{top2}}$", r"FT$^{\mathrm{top2}}$"),
        (r"LoRA [lora\_red]", "LoRA [lora_red]"),
        (r"$\unknowncommand{x}$", "{x}".strip("{}")),
        ("5$", "5"),
    ],
)
def test_labels_are_typeset_and_what_cannot_be_is_plain(label, shown):
    assert typeset(label) == shown
    with house_style():
        figure = Figure()
        figure.text(0.5, 0.5, typeset(label))
        figure.text(0.5, 0.4, literal("a$b$c ^ _"))
        figure.canvas.draw()


def points_of(metric, *scores, sizes=(10, 20, 30)):
    column = Column("generate", "Beam 1", metric)
    found = [
        Point(Line(name, name, "", 0, count, None), score, score, score, count, None)
        for name, score, count in zip("abc", scores, sizes, strict=True)
    ]
    with house_style():
        panel = Figure().add_subplot()
        drawn = draw_points(panel, "parameters", column, found, ["a", "b", "c"])
    return panel, drawn


def test_the_joined_points_are_the_unbeaten_by_what_is_better_in_a_column():
    assert len(points_of("memory_mib", 14.0, 15.0, 16.0)[0].get_lines()[0].get_xdata()) == 1
    assert len(points_of("memory_mib", 16.0, 15.0, 14.0)[0].get_lines()[0].get_xdata()) == 3
    assert len(points_of("acc", 60.0, 70.0, 80.0)[0].get_lines()[0].get_xdata()) == 3
    assert points_of("memory_mib", 1.0, 2.0, 3.0)[0].get_ylabel() == "memory_mib, lower is better"
    assert points_of(None, 1.0, 2.0, 3.0)[0].get_ylabel() == "score"


def test_a_chart_of_the_page_is_an_svg_with_marks_and_no_names_but_those_it_uses():
    found = []

    def draw(panel):
        (line,) = panel.plot([1, 2], [3, 4])
        panel.set_xlabel("a < b")
        found.append(line)
        return [(line, ('pe"dro', "80.00 at <1M>"))]

    text = inline(draw, "one")
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>")
    assert '<g data-method="pe&quot;dro"><title>80.00 at &lt;1M&gt;</title>' in text
    assert "a &lt; b" in text
    ids = set(re.findall(r' id="([^"]*)"', text))
    assert ids == set(re.findall(r"""[("]#([\w-]+)""", text))
    assert inline(draw, "one") == text
    assert not ids & set(re.findall(r' id="([^"]*)"', inline(draw, "other")))
    assert swatch(0) != swatch(1)
