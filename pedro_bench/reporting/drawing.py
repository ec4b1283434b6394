"""Drawing: one look for all figures, legible in grey, and files that are the same bytes every time.

Lines differ by dashes and markers, not by colour alone; no file holds a date or a version. Logarithms are
rounded, and what a PDF file holds too: NumPy's differ in the last digit between processors.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends import backend_pdf
from matplotlib.figure import Figure
from matplotlib.scale import LogScale, LogTransform
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

FORMATS = ("pdf", "png")

_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
_PANEL = (3.3, 2.6)
"""Inches of one panel."""

_DECIMALS = 4
"""Of coordinates in a PDF file, in points; Matplotlib itself writes ten."""

_LOG_DECIMALS = 9

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
    "text.parse_math": False,
    "svg.hashsalt": "pedro_bench",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house's look, whatever the user's own settings of Matplotlib are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def line_style(number: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the line of this number; 252 differ."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def panels(count: int, title: str, *, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title and so many panels, in rows of at most `columns`."""
    across = min(count, columns)
    down = math.ceil(count / across)
    figure = Figure(figsize=(_PANEL[0] * across, _PANEL[1] * down + 0.9), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    width = 48 * across
    figure.suptitle("\n".join(_wrapped(title, width)), fontsize=8.5)
    return figure, axes[:count]


class _RoundedTransform(LogTransform):
    def transform_non_affine(self, values: Any) -> Any:
        return np.round(np.asarray(super().transform_non_affine(values)), _LOG_DECIMALS)


class _RoundedScale(LogScale):
    def get_transform(self) -> LogTransform:
        return _RoundedTransform(self.base)


def logarithmic(panel: Axes, axis: Literal["x", "y"], text: Callable[[float], str]) -> None:
    """Make an axis logarithmic, with labels at 1, 2 and 5 times the powers of ten.

    Half a decade has labels too, then.
    """
    one = panel.xaxis if axis == "x" else panel.yaxis
    panel.set(**{f"{axis}scale": _RoundedScale(one)})
    one.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    one.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    one.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Put one legend for all panels under them."""
    widest = max((len(label) for label in labels), default=1)
    room = figure.get_size_inches()[0] * 13
    columns = max(1, min(len(labels), int(room / (widest + 8))))
    figure.set_size_inches(
        figure.get_size_inches()[0],
        figure.get_size_inches()[1] + 0.17 * math.ceil(len(labels) / columns),
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def rendered(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """Draw a figure and return format -> the bytes of its file."""
    with house_style(), _rounded_coordinates():
        figure = draw()
        files = {}
        for kind in FORMATS:
            target = io.BytesIO()
            figure.savefig(target, format=kind, metadata=_METADATA[kind])
            files[kind] = target.getvalue()
    return files


@contextmanager
def _rounded_coordinates() -> Iterator[None]:
    """Let Matplotlib's writer of PDF files round numbers; it has no setting for that."""
    written = backend_pdf.pdfRepr

    def rounded(value: object) -> bytes:
        if isinstance(value, float):  # NumPy's float64 is one
            value = round(float(value), _DECIMALS) + 0.0  # no minus before a zero
        return bytes(written(value))

    backend_pdf.pdfRepr = rounded
    try:
        yield
    finally:
        backend_pdf.pdfRepr = written


def _wrapped(text: str, width: int) -> list[str]:
    """Break a title at spaces."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
