"""Text of the second phase of pre-training, in which verdicts are practised.

General text alone never teaches the embedded backbone to compare a claim with a passage or to weigh a
review: its answers stay at chance. A run of plain verdicts on short texts does, within a few hundred
steps.
"""

from __future__ import annotations

from random import Random
from typing import Final

from micro_pretraining.pretraining_text import Document, Piece, document
from pedro_bench.data.micro import facts, reviews
from pedro_bench.data.micro.facts import capitalise

VERDICTS: Final[tuple[tuple[str, str, str], ...]] = (
    ("", " Yes.", " No."),
    ("", " Yes.", " No."),
    (" {}:", " true.", " false."),
    (" It is said that {}.", " That is right.", " That is wrong."),
    (" Is it true that {}?", " Yes.", " No."),
    (" From this it follows that {}:", " yes.", " no."),
)
"""How a claim is put (empty: as a yes/no question), and its two verdicts."""

FEELINGS: Final[tuple[tuple[str, str], ...]] = (
    (" All in all good.", " All in all bad."),
    (" A positive verdict.", " A negative verdict."),
    (" That is praise.", " That is blame."),
    (" Five stars.", " One star."),
)
"""Verdicts on a review."""


def _drill(rng: Random, level: float) -> Document:
    """A short passage and one plain verdict after another: is it told, or is it not.

    Early on a wrong claim names a value that nobody of the passage has; later often a rival's.
    """
    people = 1 if rng.random() > level else rng.randint(1, 3)
    drawn = facts.draw_facts(rng, rng.randint(1, 2 + round(3 * level)), people)
    told = facts.passage(rng, drawn, pronouns=0.5 * level, joins=0.3 * level)
    present = {f.value for f in told.facts}
    opening, good, bad = rng.choice(VERDICTS)
    doc = [Piece(told.text, False)]
    for _ in range(rng.randint(4, 8)):
        fact, holds = rng.choice(told.facts), rng.random() < 0.5
        claimed = fact if holds else facts.other_value(rng, fact, told.facts if level > 0.5 else ())
        while not holds and level <= 0.5 and claimed.value in present:
            claimed = facts.other_value(rng, fact)
        words = facts.check(rng, claimed) if not opening else facts.clause(rng, claimed)
        asked = f" {words}" if not opening else opening.format(words)
        doc += [Piece(asked, False), Piece(good if holds else bad, True)]
    return doc


def _verdict_drill(rng: Random, level: float) -> Document:
    """Reviews with one kind of verdict: plain ones first, later of every kind."""
    good, bad = rng.choice(FEELINGS)
    doc: Document = []
    for _ in range(rng.randint(4, 7)):
        positive = rng.random() < 0.5
        plain = rng.random() > level
        words = (reviews.plain_review if plain else reviews.review)(rng, positive=positive)
        opening = (" " if doc else "") + f"{capitalise(words)}."
        doc += [Piece(opening, False), Piece(good if positive else bad, True)]
    return doc


def practice(rng: Random, *, progress: float, plain_words: tuple[str, ...]) -> Document:
    """Write one document of the second phase, in which verdicts are practised.

    Args:
        rng: The source of chance.
        progress: Place in this phase, from 0 to 1.
        plain_words: As for `document`, which every third document still comes from.
    """
    kind = rng.random()
    if kind < 0.42:
        return _drill(rng, progress)
    if kind < 0.66:
        return _verdict_drill(rng, min(0.75, progress))
    return document(rng, progress=2.0, plain_words=plain_words)
