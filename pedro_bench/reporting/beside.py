"""Beside: the papers' numbers beside ours, and where a difference between them means something.

It does on the paper's backbone and data, trained and answered as the paper did. What may differ from the
paper's protocol is what `conditions` leaves to a method, its learning rate first; RED gives rates, epochs,
batches and decoding for each task, so a run of its tables may have those too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.reporting.conditions import Conditions, conditions_of, text_of
from pedro_bench.reporting.layouts import Layout
from pedro_bench.reporting.load import Row
from pedro_bench.reporting.published_scores import PublishedScore
from pedro_bench.reporting.report import Column, Line, Section, on_backbone
from pedro_bench.reporting.settings import NOT_IN_KEY, normalised
from pedro_bench.reporting.stored import Run
from pedro_bench.training.config import TrainerConfig

Published = Mapping[tuple[str, str, str, str], PublishedScore]

_PROTOCOL = {
    **{
        f"trainer.{name}": value
        for name, value in asdict(TrainerConfig()).items()
        if name not in NOT_IN_KEY["trainer"]
    },
    **{f"evaluation.{name}": value for name, value in asdict(EvaluationConfig(name="any")).items()},
    "evaluation": "generation",
}
"""Setting -> value in the paper's protocol."""

_OWN = {
    "RED": ("evaluation", "trainer.num_epochs", "trainer.batch_size", "trainer.warmup_ratio",
            "trainer.weight_decay", "trainer.max_length", "trainer.eval_every_steps", "trainer.patience",
            "trainer.lr_scheduler_type", "trainer.label_smoothing_factor"),
}  # fmt: skip
"""Paper -> beginnings of the settings for which it has a protocol of its own, told by task."""

_WHOLE = ("limit", "tasks")
"""Settings of an evaluation that leave rows out."""

_JUDGE = "gpt-4"
"""Name of the judge of the paper's MT-Bench, as FastChat asks for it; `gpt-4o` and the like are others."""


def paper_score(
    published: Published, backbone: str, row: Row | Line, column: Column
) -> PublishedScore | None:
    """Return the paper's number; where the metric's key differs, the task's only number."""
    exact = published.get((backbone, row.method, column.task, column.metric or ""))
    if exact is not None:
        return exact
    place = (backbone, row.method, column.task)
    found = [one for key, one in published.items() if key[:3] == place]
    return found[0] if len(found) == 1 else None


def beside_published(
    line: Line,
    columns: Sequence[Column],
    published: Published,
    source: str,
    paper: str,
    *,
    is_comparable: bool,
) -> Line:
    """Return a row with the paper's numbers.

    Args:
        line: The row.
        columns: Its columns.
        published: The paper's numbers.
        source: The backbone that they are of.
        paper: Short name of the paper.
        is_comparable: Whether backbone, data and kind of measurement are the paper's.
    """
    entries = [
        replace(
            entry,
            published=paper_score(published, source, line, column),
            is_comparable=is_comparable and not departures(entry.finished, paper),
        )
        for entry, column in zip(line.entries, columns, strict=True)
    ]
    return replace(line, entries=tuple(entries))


def departures(runs: Sequence[Run], paper: str) -> list[str]:
    """Return `name=value` of everything in which runs of one cell are not made as the paper's were.

    Args:
        runs: Finished runs of one cell, which share a key.
        paper: Short name of the paper.
    """
    made = conditions_of(runs)
    if made is None:
        return []
    own = _OWN.get(paper, ())
    found = [
        f"{name}={text_of(value)}"
        for name, value in made.settings.items()
        if name in _PROTOCOL
        and not name.startswith(own)
        and text_of(value) != text_of(normalised(_PROTOCOL[name]))
    ]
    if "True" in made.facts.get("backbone.random_weights", ()):
        found.append("backbone.random_weights=true")
    return found + (_of_evaluation(runs[0], made) if runs[0].evaluated is not None else [])


def _of_evaluation(run: Run, made: Conditions) -> list[str]:
    settings: Mapping[str, Any] = run.config["data"]["config"]
    found = [f"{name}={text_of(settings[name])}" for name in _WHOLE if settings.get(name)]
    judges = made.facts.get(f"{run.task}.judge.model", ())
    return found + [f"judge.model={one}" for one in judges if one != _JUDGE]


def departure_notes(sections: Sequence[Section], layout: Layout) -> list[str]:
    """Return a sentence on the cells that stand beside a paper's number without a difference."""
    told: dict[str, list[str]] = {}
    for section in sections:
        if section.is_micro or layout.measures_device or section.backbone not in layout.backbones:
            continue  # nothing there is the paper's
        on = on_backbone(section, sections)
        for line in section.lines:
            for column, entry in zip(section.columns, line.entries, strict=True):
                if entry.published and (found := departures(entry.finished, layout.paper)):
                    told.setdefault(", ".join(found), []).append(
                        f"{line.name} on {column.task}{on}"
                    )
    if not told:
        return []
    cells = [f"{', '.join(dict.fromkeys(places))} ({how})" for how, places in told.items()]
    return [f"Not by the paper's protocol, so no difference is taken: {'; '.join(cells)}."]
