"""Numbers as people read them: counts, sizes, p values, and what runs cost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

MISSING = "--"
"""The text of what does not exist."""

LEVEL = 0.05
"""`analysis.comparison.ALPHA`, whose module takes a second to import."""


def plural(noun: str, number: float) -> str:
    """Return a noun as it stands after a number: `run` after 1, else `runs`."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `2 runs`."""
    return f"{number} {plural(noun, number)}"


_AMOUNTS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))
_BYTES = ((1024.0**3, " GiB"), (1024.0**2, " MiB"), (1024.0, " KiB"))
_ROUNDS_UP = 0.05
"""How near to the next unit a number of one decimal is shown in it: 999,960 as 1.0M, not as 1000.0K."""


def amount(count: float | None) -> str:
    """Return a number of parameters as papers print it: 8945664 becomes 8.9M."""
    return MISSING if count is None else _in_unit(count, _AMOUNTS) or f"{count:g}"


def short_amount(value: float) -> str:
    """Return a number with at most two decimals: 5.03, 12.8K, and 8M without a decimal that is 0."""
    return _in_unit(value, _AMOUNTS).replace(".0", "") or f"{value:.2f}".rstrip("0").rstrip(".")


def _in_unit(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Return a value with one decimal in the greatest unit that it holds as rounded, empty where in none."""
    smaller = [size for size, _ in units[1:]] + [1.0]
    for (size, unit), below in zip(units, smaller, strict=True):
        if value >= size - _ROUNDS_UP * below:
            return f"{value / size:.1f}{unit}"
    return ""


def p_text(p: float) -> str:
    """Return a p value for people: three decimals, `p<0.001` below, and `p<0.050` where these are 0.050."""
    text = f"{p:.3f}"
    if p < 0.001 or (p < LEVEL and float(text) >= LEVEL):
        return f"p<{max(0.001, float(text)):.3f}"
    return f"p={text}"


def size_text(size: float | None) -> str:
    """Return a number of bytes for people, in powers of 1024."""
    return MISSING if size is None else _in_unit(size, _BYTES) or f"{size:.0f} B"


def energy_text(joules: float) -> str:
    """Return joules for people."""
    return f"{joules:.0f} J" if joules < 999.5 else f"{joules / 1000:,.1f} kJ"


@dataclass(frozen=True)
class CostColumn:
    """One column of what runs cost.

    Attributes:
        heading: Its heading.
        name: Its name in `analysis.table.COSTS`.
        text: Returns a value for people.
    """

    heading: str
    name: str
    text: Callable[[float], str]

    def of(self, costs: Mapping[str, float | None]) -> str:
        """Return what stands in it for some costs."""
        value = costs[self.name]
        return MISSING if value is None else self.text(value)


_COST_COLUMNS = (
    CostColumn(
        "Train time",
        "train_seconds",
        lambda seconds: f"{seconds:.1f} s" if seconds < 599.95 else f"{seconds / 60:.0f} min",
    ),
    CostColumn("Tokens/s", "train_tokens_per_second", "{:,.0f}".format),
    CostColumn("Energy (GPU)", "gpu_joules", energy_text),
    CostColumn("Energy (processors)", "processor_joules", energy_text),
    CostColumn("Peak memory", "peak_bytes", size_text),
    CostColumn("Adapter size", "adapter_bytes", size_text),
    CostColumn("Operations", "method_operations", "{:.3g}".format),
    CostColumn("Forgotten", "forgotten", "{:+.3f}".format),
)


def cost_columns(costs: Iterable[Mapping[str, float | None]]) -> tuple[CostColumn, ...]:
    """Return the columns under which any of some rows' costs has a value."""
    rows = list(costs)
    return tuple(
        column for column in _COST_COLUMNS if any(row[column.name] is not None for row in rows)
    )
