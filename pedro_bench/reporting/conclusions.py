"""Conclusions: the grids of average ranks and of verdicts on a paper's claims."""

from pedro_bench.reporting.cells import (
    MISSING,
    Block,
    GridRow,
    Text,
    claim_text,
    label_of,
    p_text,
    sample_text,
)
from pedro_bench.reporting.report import NOT_TESTABLE, Report, Section


def rank_block(report: Report, of: str) -> Block:
    """Return the methods in order of their average ranks, for each section that has them."""
    rows: list[GridRow] = []
    notes: list[str] = []
    for section in report.sections:
        if section.ranks is None:
            continue
        if len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        average = section.ranks.average
        ordered = sorted(
            (line for line in section.lines if line.name in average),
            key=lambda line: average[line.name],
        )
        rows += [GridRow((label_of(line), Text(f"{average[line.name]:.2f}"))) for line in ordered]
        notes.append(_rank_note(section))
    title = f"Average rank across tasks, {of} (1 is best)."
    return Block(title, ("Method", "Rank"), tuple(rows), tuple(notes))


def _rank_note(section: Section) -> str:
    found = section.ranks
    assert found is not None
    tasks = f"{len(found.tasks)} task{'s' if len(found.tasks) > 1 else ''}"
    over = f"{section.label}: {len(found.average)} methods on {tasks}"
    if found.p is None or found.statistic is None:
        return f"{over}; too few for a test."
    return (
        f"{over}; Friedman chi-squared {found.statistic:.2f}, {p_text(found.p)}; ranks further apart "
        f"than {found.critical_difference:.2f} differ at 5% (Nemenyi)."
    )


def claim_block(report: Report, of: str) -> Block:
    """Return the verdicts on those claims that the runs can test; the others are counted."""
    rows: list[GridRow] = []
    notes: list[str] = []
    for section in report.sections:
        tested = [one for one in section.verdicts if one.tested is not None]
        if tested and len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        for one in tested:
            assert one.tested is not None
            p = p_text(one.tested.p) if one.kind == "above" else MISSING
            sample = sample_text(one.tested, report.over)
            cells = (claim_text(one), one.source, one.verdict, p, sample)
            difference = f"{one.tested.comparison.difference:+.2f}"
            rows.append(GridRow((*map(Text, cells), Text(difference))))
        without = sum(one.verdict == NOT_TESTABLE for one in section.verdicts)
        if without:
            total = len(section.verdicts)
            notes.append(
                f"{section.label}: {without} of {total} claims lack the runs to test them."
            )
    if any(one.kind == "comparable" for section in report.sections for one in section.verdicts):
        notes.append(
            "What is within a margin is decided by the 95% interval of the difference, without a p; the "
            "margins are ours."
        )
    title = f"Claims of the paper, {of}: p corrected after Holm over all claims that one is above another."
    header = ("Claim", "Source", "Verdict", "p", "n", "Difference")
    return Block(title, header, tuple(rows), tuple(notes), text_columns=5)
