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
from pedro_bench.reporting.conditions import OTHER_PROTOCOLS, OTHER_RUNS
from pedro_bench.reporting.report import Report, Section, Verdict


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
        rows += [
            GridRow((label_of(line), Text(f"{average[line.name]:.2f}")), method=line.method)
            for line in ordered
        ]
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
    """Return the verdicts on those claims that the runs could test; the others are counted."""
    rows: list[GridRow] = []
    notes: list[str] = []
    for section in report.sections:
        shown = [one for one in section.verdicts if one.tested is not None or _is_hindered(one)]
        if shown and len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        rows += [_claim_row(one, report.over) for one in shown]
        without = len(section.verdicts) - len(shown)
        if without:
            total = len(section.verdicts)
            notes.append(
                f"{section.label}: {without} of {total} claims lack the runs to test them."
            )
        hindered = dict.fromkeys(one.reason for one in shown if one.tested is None)
        notes += [f"{section.label}: not testable, {reason}." for reason in hindered]
    if any(one.kind != "above" for section in report.sections for one in section.verdicts):
        notes.append(
            "What is within a margin is decided by the 95% interval of the difference, without a p; the "
            "margins are ours."
        )
    title = f"Claims of the paper, {of}: p corrected after Holm over all claims that one is above another."
    header = ("Claim", "Source", "Verdict", "p", "n", "Difference")
    return Block(title, header, tuple(rows), tuple(notes), text_columns=5)


def _is_hindered(verdict: Verdict) -> bool:
    """Whether both methods have runs, which cannot be compared."""
    return verdict.reason.startswith((OTHER_PROTOCOLS, OTHER_RUNS))


def _claim_row(verdict: Verdict, over: str) -> GridRow:
    if verdict.tested is None:
        word = f"{verdict.verdict}: {verdict.reason.partition(' (')[0]}"
        cells = (claim_text(verdict), verdict.source, word, MISSING, MISSING, MISSING)
        return GridRow(tuple(map(Text, cells)))
    p = p_text(verdict.tested.p) if verdict.kind == "above" else MISSING
    sample = sample_text(verdict.tested, over)
    difference = f"{verdict.tested.comparison.difference:+.2f}"
    cells = (claim_text(verdict), verdict.source, verdict.verdict, p, sample, difference)
    return GridRow(tuple(map(Text, cells)))
