"""Labels: printed names by which a reader can tell methods from each other.

`lora` and `lora_red` are both printed `LoRA`; beside each other they become `LoRA [lora]` and
`LoRA [lora_red]`. The rows of one method differ by their settings anyway.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from pedro_bench.reporting.cells import plain
from pedro_bench.reporting.escaping import escape_latex
from pedro_bench.reporting.report import Report, Section


def distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """Return method -> printed name, followed by the method where another has the same printed name."""
    counts = Counter(labels.values())
    return {
        method: f"{label} [{method}]" if counts[label] > 1 else label
        for method, label in labels.items()
    }


def told_apart(section: Section) -> Section:
    """Return a section in which no two methods have the same printed name."""
    labels = {line.method: plain(line.label) for line in section.lines}
    unlike = {method for method, label in distinct(labels).items() if label == labels[method]}
    lines = tuple(
        line
        if line.method in unlike
        else replace(line, label=f"{line.label} [{escape_latex(line.method)}]")
        for line in section.lines
    )
    return replace(section, lines=lines)


def with_rows_told_apart(report: Report) -> Report:
    """Return a report with every section's rows told apart."""
    return replace(report, sections=tuple(map(told_apart, report.sections)))
