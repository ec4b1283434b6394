"""Text of the later phases of pre-training: verdicts practised, then carried over other words.

General text alone never teaches the embedded backbone to compare a claim with a passage or to weigh a
review: its answers stay at chance. A run of plain verdicts on short texts does, within a few hundred
steps; the last phase puts other words between claim and verdict, as every task's prompt does.
"""

from __future__ import annotations

from random import Random
from typing import Final

from pedro_bench.data.micro import facts, reviews
from pedro_bench.data.micro.facts import capitalise
from pedro_bench.data.micro.pretraining_text import (
    Document,
    Piece,
    document,
    missing_fact,
    stories,
)

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


def _cue(rng: Random, plain_words: tuple[str, ...]) -> str:
    """Some words between a claim and its verdict, so that verdicts are carried along."""
    words = " ".join(rng.choice(plain_words) for _ in range(rng.randint(1, 4)))
    return rng.choice(("\nVerdict:", "\nCheck:", " Judge:", "\nSo", f"\n{words}:", f" {words}:"))


def _carried_claims(rng: Random, plain_words: tuple[str, ...]) -> Document:
    """Claims and questions on a passage; each verdict comes after a cue."""
    told = stories(rng, 1.0)
    good, bad = rng.choice(((" true", " false"), (" right", " wrong"), (" good", " bad")))
    cue = _cue(rng, plain_words)
    doc = [Piece(told.text, False)]
    for _ in range(rng.randint(3, 6)):
        fact, holds = rng.choice(told.facts), rng.random() < 0.5
        other = facts.other_value(rng, fact, told.facts)
        denied = rng.random() < 0.2
        claimed = fact if holds != denied else other
        if denied:
            words = f"{capitalise(facts.denial(rng, claimed))}."
        elif rng.random() < 0.5:
            words = facts.check(rng, claimed)
        else:
            words = f"{capitalise(facts.clause(rng, claimed))}."
        doc += [Piece(f" {words}{cue}", False), Piece(f"{good if holds else bad}.", True)]
    return doc


def _carried_feelings(rng: Random, plain_words: tuple[str, ...]) -> Document:
    """Reviews; each verdict comes after a cue."""
    good, bad = rng.choice(((" good", " bad"), (" praise", " blame"), (" right", " wrong")))
    cue = _cue(rng, plain_words)
    doc: Document = []
    for _ in range(rng.randint(3, 6)):
        positive = rng.random() < 0.5
        words = f"{capitalise(reviews.review(rng, positive=positive))}.{cue}"
        doc += [Piece(f" {words}" if doc else words, False)]
        doc += [Piece(f"{good if positive else bad}.", True)]
    return doc


def _question_first(rng: Random, plain_words: tuple[str, ...]) -> Document:
    """A question, then a short passage, then whether the passage answers it."""
    good, bad = rng.choice(((" told", " untold"), (" true", " false"), (" right", " wrong")))
    cue = _cue(rng, plain_words)
    doc: Document = []
    for _ in range(rng.randint(2, 4)):
        told = facts.passage(rng, facts.draw_facts(rng, rng.randint(1, 3), 2), pronouns=0.0)
        known = rng.random() < 0.5
        fact = rng.choice(told.facts) if known else missing_fact(rng, told)
        asked = f"{facts.question(rng, fact)} {told.text}{cue}"
        doc += [Piece(f" {asked}" if doc else asked, False)]
        doc += [Piece(f"{good if known else bad}.", True)]
    return doc


def _naming(rng: Random, plain_words: tuple[str, ...]) -> Document:
    """Who it is that a fact is told of, from the fact alone."""
    people = rng.randint(2, 3)
    drawn = facts.draw_facts(rng, people * rng.randint(1, 2), people)
    told = facts.passage(rng, drawn, pronouns=0.2)
    doc = [Piece(told.text, False)]
    cue = _cue(rng, plain_words) if rng.random() < 0.4 else ""
    for _ in range(rng.randint(3, 6)):
        fact = rng.choice(told.facts)
        asked = f"{capitalise(facts.who(rng, fact, 'who'))}?{cue}"
        doc += [Piece(f" {asked}", False), Piece(f" {fact.person}.", True)]
    return doc


def transfer(rng: Random, *, progress: float, plain_words: tuple[str, ...]) -> Document:
    """Write one document of the third phase, in which verdicts are carried over other words.

    Args:
        rng: The source of chance.
        progress: Place in this phase, from 0 to 1; it does not matter here.
        plain_words: As for `document`.
    """
    kind = rng.random()
    if kind < 0.34:
        return _carried_claims(rng, plain_words)
    if kind < 0.50:
        return _carried_feelings(rng, plain_words)
    if kind < 0.63:
        return _question_first(rng, plain_words)
    if kind < 0.82:
        return _naming(rng, plain_words)
    return practice(rng, progress=0.9, plain_words=plain_words)
