"""Figures: learned activations, scores by parameters, training curves; the numbers come from `analysis`.

activation_figure   Figure 2 of the PEDRO paper, for one run
budget_figure       Figure 3: score against parameters, for every method of a section
curve_figure        loss on the dev split over training
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pedro_bench.analysis.activations import Activations, gelu, rational, shown_layers
from pedro_bench.analysis.cells import Column
from pedro_bench.analysis.layouts import MICRO
from pedro_bench.analysis.reading import Run
from pedro_bench.analysis.series import PARAMETERS, Curve, Point, by_parameters, front, points
from pedro_bench.analysis.table import Section, Table
from pedro_bench.reporting.drawing import (
    Mark,
    legend_below,
    line_style,
    literal,
    logarithmic,
    name_of,
    panels,
    typeset,
)
from pedro_bench.reporting.grids import amount, label_of
from pedro_bench.reporting.notes import MICRO_MARK

_FIT_RANGE = 4.0
"""The initial coefficients were fitted to GELU on [-4, 4]."""

Drawn = list[tuple[Artist, Mark]]


def activation_figure(run: Run, activations: Activations) -> Figure:
    """Draw the learned activations of some layers with GELU and the initial fit, and less GELU."""
    where = f"(suite {run.suite}, backbone {run.backbone}, data {run.data})"
    mark = _mark(is_micro=MICRO in (run.backbone, run.data))
    figure, (whole, difference) = panels(
        2,
        f"Learned activations of {typeset(run.label)} on {literal(run.task)}, seed {run.seed} {where}{mark}",
    )
    x = np.linspace(-_FIT_RANGE, _FIT_RANGE, 161)
    layers = shown_layers(max(activations.layers))
    drawn: list[tuple[str, Any, dict[str, Any]]] = [
        ("GELU", gelu(x), {"color": "0.65", "linestyle": "-", "linewidth": 3.0}),
        ("initial fit", rational(x, activations.initial), {"color": "0.0", "linestyle": ":"}),
    ]
    drawn += [
        (
            f"layer {layer}",
            rational(x, activations.layers[layer]),
            {**line_style(number + 1), "markevery": (5 * number, 20)},
        )
        for number, layer in enumerate(layers)
        if layer in activations.layers
    ]
    handles = []
    for name, y, style in drawn:
        handles += whole.plot(x, y, label=name, **style)
        difference.plot(x, y - gelu(x), label=name, **style)
    whole.set(title="activation", xlabel="x", ylabel="R(x)")
    difference.set(title="activation less GELU", xlabel="x", ylabel="R(x) - GELU(x)")
    legend_below(figure, handles, [name for name, _, _ in drawn])
    return figure


def budget_figure(table: Table, section: Section) -> Figure:
    """Draw medians with interquartile ranges against parameters, one panel a column, one line a method."""
    columns = [
        (column, found)
        for number, column in enumerate(table.columns)
        if by_parameters(found := points(section, number))
    ]
    figure, axes = panels(
        len(columns),
        f"Score by trained parameters{_of(table, section)}: median over {table.over}, bars from the "
        "first to the third quartile",
    )
    methods = list(dict.fromkeys(line.method for line in section.lines))
    handles = {}
    for panel, (column, found) in zip(axes, columns, strict=True):
        for method, own in by_parameters(found).items():
            style = line_style(methods.index(method))
            if len({one.parameters for one in own}) < len(own):
                style["linestyle"] = "none"  # rows of one size differ by something else
            label = typeset(own[0].line.label)
            handles[label] = panel.errorbar(
                [one.parameters or 0 for one in own],
                [one.median for one in own],
                yerr=_quartiles(own),
                label=label,
                capsize=2.5,
                elinewidth=0.8,
                **style,
            )
        panel.set(title=literal(column.label), xlabel="trained parameters")
        panel.set(ylabel=literal(column.scale))
        logarithmic(panel, "x", _amount)
    legend_below(figure, list(handles.values()), list(handles))  # type: ignore[arg-type]
    return figure


def curve_figure(table: Table, section: Section, shown: Mapping[str, Sequence[Curve]]) -> Figure:
    """Draw the median loss on the dev split over training, one panel a task.

    Args:
        table: The table that the section is of.
        section: One backbone.
        shown: What `curves` gives for it, not empty.
    """
    figure, axes = panels(
        len(shown), f"Loss on the dev split{_of(table, section)}: median over seeds"
    )
    every = list(dict.fromkeys(name_of(one.line) for found in shown.values() for one in found))
    handles = {}
    for panel, (label, found) in zip(axes, shown.items(), strict=True):
        for curve in found:
            name = name_of(curve.line)
            steps, losses = zip(*curve.median, strict=True) if curve.median else ((), ())
            handles[name], *_ = panel.plot(
                steps, losses, label=name, **line_style(every.index(name))
            )
        panel.set(title=literal(label), xlabel="step", ylabel="dev loss")
        _log_where_positive(panel)
    legend_below(figure, list(handles.values()), list(handles))
    return figure


def draw_curves(panel: Axes, found: Sequence[Curve], methods: Sequence[str]) -> Drawn:
    """Draw every seed's dev loss faintly and the median over seeds above them, for the page."""
    drawn: Drawn = []
    for curve in found:
        name = label_of(curve.line).plain
        style = {**line_style(methods.index(curve.line.method)), "marker": ""}
        for seed, series in sorted(curve.seeds.items()):
            faint = panel.plot(*zip(*series, strict=True), **style, alpha=0.3, linewidth=0.6)
            drawn.append((faint[0], (curve.line.method, f"{name}, seed {seed}")))
        steps, losses = zip(*curve.median, strict=True) if curve.median else ((), ())
        middle = panel.plot(steps, losses, **style, linewidth=1.4)
        drawn.append((middle[0], (curve.line.method, f"{name}, median over seeds")))
    panel.set(xlabel="step", ylabel="dev loss")
    _log_where_positive(panel)
    return drawn


def draw_points(
    panel: Axes, kind: str, column: Column, found: Sequence[Point], methods: Sequence[str]
) -> Drawn:
    """Draw medians with quartiles against PARAMETERS or SPEED, and the unbeaten ones joined."""
    drawn: Drawn = []
    best = front(found, kind, column.sign)
    (joined,) = panel.plot(
        [one.at(kind) or 0.0 for one in best], [one.median for one in best], "--", color="0.6"
    )
    drawn.append((joined, ("", "no method is better at this cost or below")))
    for point in found:
        style = {**line_style(methods.index(point.line.method)), "linestyle": "none"}
        where = point.at(kind) or 0.0
        bars = panel.errorbar([where], [point.median], yerr=_quartiles([point]), **style)
        title = f"{label_of(point.line).plain}: {point.median:.2f} at {_amount(where)}"
        drawn += [(artist, (point.line.method, title)) for artist in (bars[0], *bars[2])]
    unit = "trained parameters" if kind == PARAMETERS else "training tokens/s"
    panel.set(xlabel=unit, ylabel=literal(column.scale))
    logarithmic(panel, "x", _amount)
    return drawn


def _quartiles(found: Sequence[Point]) -> list[list[float]]:
    return [[one.median - one.low for one in found], [one.high - one.median for one in found]]


def _amount(value: float) -> str:
    return amount(round(value, 2)).replace(".0", "")


def _log_where_positive(panel: Axes) -> None:
    losses = [
        value for line in panel.get_lines() for value in np.asarray(line.get_ydata()).tolist()
    ]
    if losses and min(losses) > 0:
        logarithmic(panel, "y", lambda value: f"{value:g}")


def _of(table: Table, section: Section) -> str:
    return (
        f", suite {literal(table.suite)}, backbone {literal(section.backbone)}, data {literal(table.data)}"
        f"{_mark(is_micro=section.is_micro)}"
    )


def _mark(*, is_micro: bool) -> str:
    return f" ({MICRO_MARK})" if is_micro else ""
