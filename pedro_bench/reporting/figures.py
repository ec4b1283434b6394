"""Figures: learned activations, scores by parameters, training curves; each of data made elsewhere.

activation_figure   Figure 2 of the PEDRO paper, for one run
budget_figure       Figure 3: score against parameters, for every method of a section
curve_figure        loss on the dev split over training
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pedro_bench.reporting.activations import Activations, gelu, rational, shown_layers
from pedro_bench.reporting.cells import amount, plain
from pedro_bench.reporting.curves import Curve
from pedro_bench.reporting.drawing import legend_below, line_style, logarithmic, panels
from pedro_bench.reporting.notes import MICRO_MARK
from pedro_bench.reporting.points import by_parameters, points
from pedro_bench.reporting.report import Report, Section
from pedro_bench.reporting.stored import Run

_FIT_RANGE = 4.0
"""The initial coefficients were fitted to GELU on [-4, 4]."""


def activation_figure(run: Run, activations: Activations, *, is_micro: bool) -> Figure:
    """Draw the learned activations of some layers, beside GELU and the initial fit, and less GELU."""
    label = plain(str(dict(run.config.get("method") or {}).get("label", run.method)))
    figure, (whole, difference) = panels(
        2,
        f"Learned activations of {label} on {run.task}, seed {run.seed} (suite {run.suite}, "
        f"backbone {run.backbone}, data {run.data}){_mark(is_micro=is_micro)}",
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


def budget_figure(report: Report, section: Section) -> Figure:
    """Draw medians with interquartile ranges against parameters, one panel a column, one line a method."""
    shown = [
        (place, column)
        for place, column in enumerate(section.columns)
        if by_parameters(points(section, place))
    ]
    figure, axes = panels(
        len(shown),
        f"Score by trained parameters{_of(report, section)}: median over {report.over}, bars from the "
        "first to the third quartile",
    )
    methods = list(dict.fromkeys(line.method for line in section.lines))
    handles = {}
    for panel, (place, column) in zip(axes, shown, strict=True):
        for method, own in by_parameters(points(section, place)).items():
            middle = [one.median for one in own]
            below = [one.median - one.low for one in own]
            above = [one.high - one.median for one in own]
            style = line_style(methods.index(method))
            label = own[0].label
            if len({one.parameters for one in own}) < len(own):
                style["linestyle"] = "none"  # rows of one size differ by something else
            handles[label] = panel.errorbar(
                [one.parameters or 0 for one in own],
                middle,
                yerr=[below, above],
                label=label,
                capsize=2.5,
                elinewidth=0.8,
                **style,
            )
        panel.set(title=column.label, xlabel="trained parameters", ylabel=column.scale)
        logarithmic(panel, "x", lambda value: amount(round(value)).replace(".0", ""))
    legend_below(figure, list(handles.values()), list(handles))  # type: ignore[arg-type]
    return figure


def curve_figure(
    report: Report, section: Section, shown: Mapping[str, tuple[Curve, ...]]
) -> Figure:
    """Draw the median loss on the dev split over training, one panel a task.

    Args:
        report: The table that the section is of.
        section: One backbone.
        shown: What `task_curves` gives for it, not empty.
    """
    figure, axes = panels(
        len(shown), f"Loss on the dev split{_of(report, section)}: median over seeds"
    )
    every = list(dict.fromkeys(one.name for found in shown.values() for one in found))
    handles = {}
    for panel, (label, found) in zip(axes, shown.items(), strict=True):
        for curve in found:
            steps, losses = zip(*curve.median, strict=True) if curve.median else ((), ())
            handles[curve.name], *_ = panel.plot(
                steps, losses, label=curve.name, **line_style(every.index(curve.name))
            )
        panel.set(title=label, xlabel="step", ylabel="dev loss")
        _log_where_positive(panel)
    legend_below(figure, list(handles.values()), list(handles))
    return figure


def _log_where_positive(panel: Axes) -> None:
    losses = [
        value for line in panel.get_lines() for value in np.asarray(line.get_ydata()).tolist()
    ]
    if losses and min(losses) > 0:
        logarithmic(panel, "y", lambda value: f"{value:g}")


def _of(report: Report, section: Section) -> str:
    return (
        f", suite {report.suite}, backbone {section.backbone}, data {report.data}"
        f"{_mark(is_micro=section.is_micro)}"
    )


def _mark(*, is_micro: bool) -> str:
    return f" ({MICRO_MARK})" if is_micro else ""
