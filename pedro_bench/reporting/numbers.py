"""Numbers as people read them: counts, sizes, p values, and what runs cost."""

MISSING = "--"
"""The text of what does not exist."""

COST_HEADINGS = (
    "Train time", "Tokens/s", "Energy", "Peak memory", "Adapter size", "Operations", "Forgotten",
)  # fmt: skip
"""What `cost_texts` returns, in its order."""


def amount(count: float | None) -> str:
    """Return a number of parameters as papers print it: 8945664 becomes 8.9M."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count is not None and count >= size:
            return f"{count / size:.1f}{unit}"
    return MISSING if count is None else f"{count:g}"


def p_text(p: float) -> str:
    """Return a p value for people: three decimals, `p<0.001` below."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"


def size_text(size: float | None) -> str:
    """Return a number of bytes for people, in powers of 1024."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size is not None and size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return MISSING if size is None else f"{size:.0f} B"


def energy_text(joules: float | None) -> str:
    """Return joules for people."""
    if joules is None:
        return MISSING
    return f"{joules:.0f} J" if joules < 1000 else f"{joules / 1000:,.1f} kJ"


def cost_texts(costs: dict[str, float | None]) -> tuple[str, ...]:
    """Return what stands under COST_HEADINGS, for people."""
    seconds, speed, joules, peak, size, operations, forgotten = costs.values()
    time = (
        MISSING
        if seconds is None
        else f"{seconds:.1f} s"
        if seconds < 600
        else f"{seconds / 60:.0f} min"
    )
    return (
        time,
        MISSING if speed is None else f"{speed:,.0f}",
        energy_text(joules),
        size_text(peak),
        size_text(size),
        MISSING if operations is None else f"{operations:.3g}",
        MISSING if forgotten is None else f"{forgotten:+.3f}",
    )
