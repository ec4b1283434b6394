"""Text of the third phase of pre-training: verdicts carried over other words, and people named.

After the second phase the embedded backbone knows the verdict right behind a claim and nowhere else. Here
some words, few at first, stand between claim and verdict, as every task's prompt has them; and a person
is to be named from what is told of him, by the bare value first.
"""

from __future__ import annotations

from random import Random
from typing import Final

from micro_pretraining.practice_text import practice
from micro_pretraining.pretraining_text import Document, Piece, document, missing_fact
from pedro_bench.data.micro import facts, reviews
from pedro_bench.data.micro.facts import Fact, Passage, capitalise

CUES: Final[tuple[str, ...]] = (
    ":",
    " So:",
    "\nVerdict:",
    "\nIs it so:",
    "\nSay which:",
    "\nThe right word is",
    "\nGive the right word:",
    "\nWhich of the two is it:",
    "\nWhat do you say of it? Say:",
)
"""What stands between a claim and its verdict, from the shortest on."""

_TOSSED: Final = 0.12
"""Share of documents whose verdicts are " yes" or " no" by the toss of a coin: what tasks answer with is
then a word that may stand in this place, and which of the two it is has to be learned from the task."""

_LEADS: Final[tuple[str, ...]] = (" ", " ", "\n", "\nClaim: ", "\nAsked: ", "\nSay: ")


def _cue(rng: Random, level: float, plain_words: tuple[str, ...]) -> str:
    """Words between a claim and its verdict: none or few at level 0, up to eight at level 1."""
    if rng.random() < 0.15:
        return ""
    if rng.random() < 0.6 * level:
        words = " ".join(
            rng.choice(plain_words) for _ in range(rng.randint(1, 1 + round(6 * level)))
        )
        return f"\n{words}:"
    return rng.choice(CUES[: 2 + round((len(CUES) - 2) * level)])


def _claim(rng: Random, told: Passage, level: float, *, holds: bool) -> str:
    """Write a claim on a passage: asked, said, denied, or of two halves."""
    fact = rng.choice(told.facts)
    wrong = facts.other_value(rng, fact, told.facts)
    kind = rng.random()
    if kind < 0.2 * level:
        return f"{capitalise(facts.denial(rng, wrong if holds else fact))}."
    if kind < 0.35 * level and len(told.facts) > 1:
        other = rng.choice([f for f in told.facts if f != fact])
        halves = [facts.clause(rng, fact if holds else wrong), facts.clause(rng, other)]
        rng.shuffle(halves)
        return f"{capitalise(' and '.join(halves))}."
    if not holds and rng.random() < 0.25 * level:
        wrong = missing_fact(rng, told)
    claimed = fact if holds else wrong
    if rng.random() < 0.55:
        return facts.check(rng, claimed)
    return f"{capitalise(facts.clause(rng, claimed))}."


def _carried_claims(rng: Random, level: float, plain_words: tuple[str, ...]) -> Document:
    """Claims and questions on a passage; each verdict comes after the same cue."""
    people = rng.randint(1, 3) if rng.random() < level else 1
    drawn = facts.draw_facts(rng, rng.randint(1, 3 + round(2 * level)), people)
    told = facts.passage(rng, drawn)
    cue = _cue(rng, level, plain_words)
    good, bad = rng.choice(((" true", " false"), (" right", " wrong"), (" Yes", " No")))
    tossed = rng.random() < _TOSSED
    lead = rng.choice(_LEADS) if rng.random() < level else " "
    doc = [Piece(told.text, False)]
    for _ in range(rng.randint(4, 7)):
        holds = rng.random() < 0.5
        words = _claim(rng, told, level, holds=holds)
        verdict = rng.choice((" yes", " no")) if tossed else good if holds else bad
        doc += [Piece(f"{lead}{words}{cue}", False), Piece(f"{verdict}.", True)]
    return doc


def _carried_feelings(rng: Random, level: float, plain_words: tuple[str, ...]) -> Document:
    """Reviews; each verdict comes after the same cue."""
    good, bad = rng.choice(((" good", " bad"), (" praise", " blame")))
    cue = _cue(rng, level, plain_words) or ":"
    doc: Document = []
    for _ in range(rng.randint(3, 6)):
        positive = rng.random() < 0.5
        words = f"{capitalise(reviews.review(rng, positive=positive))}.{cue}"
        doc += [Piece(f" {words}" if doc else words, False)]
        doc += [Piece(f"{good if positive else bad}.", True)]
    return doc


def _answered(rng: Random, level: float, plain_words: tuple[str, ...]) -> Document:
    """Whether a question is answered by the passage before it or, later often, after it."""
    good, bad = rng.choice(((" told", " untold"), (" true", " false")))
    cue = _cue(rng, level, plain_words) or ":"
    after = rng.random() < 0.5 * level
    tossed = rng.random() < _TOSSED
    doc: Document = []
    told = _short_passage(rng, level)
    if not after:
        doc.append(Piece(told.text, False))
    for _ in range(rng.randint(2, 4) if after else rng.randint(4, 7)):
        if after:
            told = _short_passage(rng, level)
        known = rng.random() < 0.5
        fact = rng.choice(told.facts) if known else missing_fact(rng, told)
        asked = facts.question(rng, fact) + (f" {told.text}" if after else "") + cue
        doc += [Piece(f" {asked}" if doc else asked, False)]
        verdict = rng.choice((" yes", " no")) if tossed else good if known else bad
        doc += [Piece(f"{verdict}.", True)]
    return doc


def _short_passage(rng: Random, level: float) -> Passage:
    drawn = facts.draw_facts(rng, rng.randint(1, 2 + round(2 * level)), 2)
    return facts.passage(rng, drawn, pronouns=0.0, joins=0.6 * level)


def _naming(rng: Random, level: float, plain_words: tuple[str, ...]) -> Document:
    """Who it is that a fact is told of: by the bare value or by a question.

    No fact is asked for twice: its second answer could be copied from the first.
    """
    people = rng.randint(2, 3)
    relations = rng.randint(1, 1 + round(2 * level))
    told = facts.passage(
        rng,
        facts.draw_facts(rng, people * relations, people, relations),
        pronouns=0.5 * level,
        joins=0.3 * level,
    )
    doc = [Piece(told.text, False)]
    plain = rng.random() < 0.5
    cue = _cue(rng, level, plain_words) if rng.random() < 0.4 * level else ""
    for fact in rng.sample(told.facts, min(6, len(told.facts))):
        asked = _who_is_it(rng, fact, plain=plain) + cue
        doc += [Piece(f" {asked}", False), Piece(f" {fact.person}.", True)]
    return doc


def _who_is_it(rng: Random, fact: Fact, *, plain: bool) -> str:
    if plain:
        return rng.choice((f"{capitalise(fact.value)}:", f"The one with {fact.value}:"))
    if rng.random() < 0.3:
        return f"The one who {facts.who(rng, fact, '').strip()} is"
    return f"{capitalise(facts.who(rng, fact, 'who'))}?"


_SHARES: Final = (0.32, 0.42, 0.58, 0.85)
_LATE_SHARES: Final = (0.20, 0.28, 0.38, 0.74)
"""Where the kinds of text end, out of one, while cues grow and after; earlier text is the rest."""


def transfer(rng: Random, *, progress: float, plain_words: tuple[str, ...]) -> Document:
    """Write one document of the third phase.

    Args:
        rng: The source of chance.
        progress: Place in this phase's curriculum; at 1 everything has grown, and from then on a quarter
            of the documents are those of the first phase, so that nothing is forgotten.
        plain_words: As for `practice`.
    """
    level = min(1.0, progress)
    claims, feelings, answered, naming = _SHARES if progress < 1 else _LATE_SHARES
    kind = rng.random()
    if kind < claims:
        return _carried_claims(rng, level, plain_words)
    if kind < feelings:
        return _carried_feelings(rng, level, plain_words)
    if kind < answered:
        return _answered(rng, level, plain_words)
    if kind < naming:
        return _naming(rng, level, plain_words)
    if progress < 1:
        return practice(rng, progress=0.9, plain_words=plain_words)
    return document(rng, progress=2.0, plain_words=plain_words)
