"""Figures of tables, as PDF, PNG, and SVG in the page: curves, scores by parameters, activations.

All have one look, legible in grey: lines differ by dashes and markers, not by colour alone. No file holds a
date.
"""

import html
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from pedro_bench.analysis.activations import Activations, gelu, rational, shown_layers
from pedro_bench.analysis.cells import Column
from pedro_bench.analysis.papers import MICRO, plain
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.series import Curve, Point, by_parameters, front, points
from pedro_bench.analysis.table import Line, Section, Table
from pedro_bench.reporting.captions import MICRO_MARK
from pedro_bench.reporting.grids import label_of
from pedro_bench.reporting.numbers import energy_text, short_amount, size_text
from pedro_bench.reporting.ticks import AMOUNTS, BYTES, JOULES, Units, logarithmic

FORMATS = ("pdf", "png")

AXIS_TITLES: Mapping[str, str] = {
    "parameters": "trained parameters",
    "speed": "training tokens/s",
    "seconds": "training seconds",
    "gpu_energy": "training energy of the GPU",
    "processor_energy": "training energy of the processors",
    "memory": "peak memory",
    "size": "adapter size",
}
"""Axis of a chart of scores by cost -> its title."""

_PRINTED: Mapping[str, tuple[Callable[[float], str], Units]] = {
    "gpu_energy": (energy_text, JOULES),
    "processor_energy": (energy_text, JOULES),
    "memory": (size_text, BYTES),
    "size": (size_text, BYTES),
}
"""Axis -> its numbers in words and the units of its ticks, where they are not counts."""

_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}
_PANEL = (3.3, 2.6)
"""Inches of one panel."""

_STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.grid": True,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
}

Mark = tuple[str, str]
"""The method that a drawn thing is of, and its text when it is pointed at."""


@contextmanager
def house_style(salt: str = "pedro_bench") -> Iterator[None]:
    """Draw in the house's look, whatever the user's own settings of Matplotlib are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": salt})
        yield


def line_style(number: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the line of this number; 252 differ."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def typeset(label: str) -> str:
    r"""Return a LaTeX label as Matplotlib sets it, such as `(IA)$^3$`; without markup where it cannot."""
    text = re.sub(r"\\([&%#_])", r"\1", label)
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return literal(plain(label))
    return text if text.count("$") % 2 == 0 else literal(plain(label))


def literal(text: str) -> str:
    """Return a text in which Matplotlib reads no formula."""
    return text.replace("$", r"\$")


def name_of(line: Line) -> str:
    """Return a row's printed name with its settings, as Matplotlib sets it."""
    return typeset(line.label) + (f" ({literal(line.settings)})" if line.settings else "")


def panels(count: int, title: str, *, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title and so many panels, in rows of at most `columns`."""
    across = min(count, columns)
    down = math.ceil(count / across)
    figure = Figure(figsize=(_PANEL[0] * across, _PANEL[1] * down + 0.9), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    figure.suptitle(title, fontsize=8.5, wrap=True)
    return figure, axes[:count]


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Put one legend for all panels under them."""
    widest = max((len(label) for label in labels), default=1)
    width, height = figure.get_size_inches()
    columns = max(1, min(len(labels), int(width * 13 / (widest + 8))))
    figure.set_size_inches(width, height + 0.17 * math.ceil(len(labels) / columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def rendered(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """Draw a figure and return format -> the bytes of its file."""
    with house_style():
        figure = draw()
        return {kind: _saved(figure, kind) for kind in FORMATS}


def inline(
    draw: Callable[[Axes], Sequence[tuple[Artist, Mark]]],
    salt: str,
    *,
    size: tuple[float, float] = (4.5, 2.8),
    place: tuple[float, float, float, float] = (0.17, 0.16, 0.77, 0.8),
) -> str:
    """Draw one panel and return it as an SVG element for an HTML page.

    Args:
        draw: Draws into a panel and returns what is drawn with its Mark, which becomes the attribute
            `data-method` and a title.
        salt: What no other panel of the page has; names within the SVG are made of it.
        size: Width and height in inches.
        place: Left, bottom, width and height of the panel, as shares of the figure's.
    """
    with house_style(salt):
        figure = Figure(figsize=size)
        panel = figure.add_axes(place)
        marks = list(draw(panel))
        for number, (artist, _) in enumerate(marks):
            artist.set_gid(f"mark-{number}")
        text = _saved(figure, "svg").decode()
    text = text[text.index("<svg") :]
    for number, (_, (method, title)) in enumerate(marks):
        own = f'<g data-method="{html.escape(method)}"><title>{html.escape(title)}</title>'
        text = text.replace(f'<g id="mark-{number}">', own)
    used = set(re.findall(r"""[("]#([\w-]+)""", text))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)


def swatch(number: int) -> str:
    """Return a piece of the line of this number as an SVG element."""

    def draw(panel: Axes) -> Sequence[tuple[Artist, Mark]]:
        panel.plot([0, 1, 2], [0, 0, 0], markevery=[1], **line_style(number))
        panel.set_axis_off()
        return ()

    return inline(draw, f"swatch-{number}", size=(0.42, 0.12), place=(0, 0, 1, 1))


def _saved(figure: Figure, kind: str) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format=kind, metadata=_METADATA[kind])
    return target.getvalue()


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
        f"Score by trained parameters{place_of(table, section)}: median over {table.over}, bars from the "
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
        logarithmic(panel, "x", AMOUNTS)
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
        len(shown), f"Loss on the dev split{place_of(table, section)}: median over seeds"
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
    """Draw medians with quartiles against one of AXES, and the unbeaten ones joined."""
    drawn: Drawn = []
    text, units = _PRINTED.get(kind, (short_amount, AMOUNTS))
    best = front(found, kind, column.sign)
    (joined,) = panel.plot(
        [one.at(kind) or 0.0 for one in best], [one.median for one in best], "--", color="0.6"
    )
    drawn.append((joined, ("", "no method is better at this cost or below")))
    for point in found:
        style = {**line_style(methods.index(point.line.method)), "linestyle": "none"}
        where = point.at(kind) or 0.0
        bars = panel.errorbar([where], [point.median], yerr=_quartiles([point]), **style)
        title = f"{label_of(point.line).plain}: {point.median:.2f} at {text(where)}"
        drawn += [(artist, (point.line.method, title)) for artist in (bars[0], *bars[2])]
    panel.set(xlabel=AXIS_TITLES[kind], ylabel=literal(column.scale))
    logarithmic(panel, "x", units)
    return drawn


def _quartiles(found: Sequence[Point]) -> list[list[float]]:
    return [[one.median - one.low for one in found], [one.high - one.median for one in found]]


def _log_where_positive(panel: Axes) -> None:
    losses = [
        value for line in panel.get_lines() for value in np.asarray(line.get_ydata()).tolist()
    ]
    if losses and min(losses) > 0:
        logarithmic(panel, "y")


def place_of(table: Table, section: Section) -> str:
    """Return what a figure's title says of suite, backbone and data, marked where they are micro."""
    return (
        f", suite {literal(table.suite)}, backbone {literal(section.backbone)}, data {literal(table.data)}"
        f"{_mark(is_micro=section.is_micro)}"
    )


def _mark(*, is_micro: bool) -> str:
    return f" ({MICRO_MARK})" if is_micro else ""
