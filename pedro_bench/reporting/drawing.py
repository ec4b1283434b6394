"""Drawing: one look for all figures, legible in grey; the same figures as PDF, PNG, and SVG in the page.

Lines differ by dashes and markers, not by colour alone. No file holds a date.
"""

import html
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pedro_bench.analysis.layouts import plain
from pedro_bench.analysis.table import Line

FORMATS = ("pdf", "png")

_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_FEWEST_TICKS = 3

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


def logarithmic(panel: Axes, axis: Literal["x", "y"], text: Callable[[float], str]) -> None:
    """Make an axis logarithmic, with labels at 1, 2 and 5 times the powers of ten.

    Where fewer than three of them are in view, the labels are at round numbers.
    """
    one = panel.xaxis if axis == "x" else panel.yaxis
    panel.set(**{f"{axis}scale": "log"})
    low, high = one.get_view_interval()
    locator = LogLocator(subs=(1.0, 2.0, 5.0))
    shown = [value for value in locator.tick_values(low, high) if low <= value <= high]
    one.set_major_locator(locator if len(shown) >= _FEWEST_TICKS else MaxNLocator(5))
    one.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    one.set_minor_formatter(NullFormatter())


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
    place: tuple[float, float, float, float] = (0.14, 0.16, 0.84, 0.8),
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
