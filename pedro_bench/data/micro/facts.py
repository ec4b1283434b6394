"""Facts about people, said, denied and asked in many phrasings, and passages made of them.

A fact is (person, relation, value); `lexicon` holds the phrasings.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from pedro_bench.data.micro.lexicon import NAMES, RELATIONS, WOMEN, with_article


class Fact(NamedTuple):
    """One fact: a person, the name of a relation and the value."""

    person: str
    relation: str
    value: str


def capitalise(text: str) -> str:
    """Make the first letter a capital one and leave the rest."""
    return text[:1].upper() + text[1:]


def fill(template: str, fact: Fact, *, pronoun: bool = False) -> str:
    """Put a fact into a template of its relation; with `pronoun`, "she" or "her" in place of {s} or {o}."""
    name = fact.person
    woman = name in WOMEN
    subject = ("she" if woman else "he") if pronoun else name
    owner = ("her" if woman else "his") if pronoun else f"{name}'s"
    return template.format(s=subject, o=owner, n=name, v=fact.value, a=with_article(fact.value))


def clause(rng: Random, fact: Fact, *, pronoun: bool = False) -> str:
    """Say a fact as a clause in a random phrasing."""
    return fill(rng.choice(RELATIONS[fact.relation].says), fact, pronoun=pronoun)


def sentence(rng: Random, fact: Fact, *, pronoun: bool = False) -> str:
    """Say a fact as a sentence with capital and stop."""
    return capitalise(clause(rng, fact, pronoun=pronoun)) + "."


def denial(rng: Random, fact: Fact) -> str:
    """Say that a fact does not hold, as a clause."""
    return fill(rng.choice(RELATIONS[fact.relation].denies), fact)


def question(rng: Random, fact: Fact, known_by: Fact | None = None) -> str:
    """Ask for the value of a fact; `known_by` is another fact of the person, told in place of the name."""
    asks = RELATIONS[fact.relation].asks
    if known_by is not None:
        asks = tuple(template for template in asks if "{o}" not in template)
        fact = fact._replace(person=who(rng, known_by, "the one who"))
    return capitalise(fill(rng.choice(asks), fact)) + "?"


def check(rng: Random, fact: Fact) -> str:
    """Ask whether a fact holds."""
    return capitalise(fill(rng.choice(RELATIONS[fact.relation].checks), fact)) + "?"


def who(rng: Random, fact: Fact, subject: str) -> str:
    """Say a fact with another subject ("who", "@placeholder") as a clause."""
    template = rng.choice(RELATIONS[fact.relation].whos)
    return f"{subject} {fill(template, fact)}"


def other_value(rng: Random, fact: Fact, near: tuple[Fact, ...] = ()) -> Fact:
    """Change the value of a fact, often to one that another person of the passage (`near`) has."""
    rivals = [f.value for f in near if f.relation == fact.relation and f.value != fact.value]
    if rivals and rng.random() < 0.6:
        return fact._replace(value=rng.choice(rivals))
    while (value := RELATIONS[fact.relation].draw(rng)) == fact.value:
        pass
    return fact._replace(value=value)


def draw_facts(
    rng: Random,
    count: int,
    people: int,
    relations: int | None = None,
    *,
    pool: tuple[str, ...] = (),
) -> tuple[Fact, ...]:
    """Draw facts about a few people so that the same relation is often told of two of them.

    There are at most `people` * 3, with distinct (person, relation); two people never share relation and
    value. Relations are those of `pool`, or as many as asked for are drawn (by default more than `count` / 2).
    """
    names = rng.sample(NAMES, people)
    told = pool or rng.sample(list(RELATIONS), relations or max(3, (count + 1) // 2 + 1))
    pairs = [(name, relation) for name in names for relation in told]
    chosen = rng.sample(pairs, min(count, len(pairs)))
    facts: list[Fact] = []
    taken: set[tuple[str, str]] = set()
    for name, relation in chosen:
        while (value := RELATIONS[relation].draw(rng)) and (relation, value) in taken:
            pass
        taken.add((relation, value))
        facts.append(Fact(name, relation, value))
    return tuple(facts)


class Passage(NamedTuple):
    """A text, its facts in the order of the text, and where each fact's value starts."""

    text: str
    facts: tuple[Fact, ...]
    starts: tuple[int, ...]


def passage(
    rng: Random, facts: tuple[Fact, ...], *, pronouns: float = 0.5, joins: float = 0.3
) -> Passage:
    """Tell facts as a running text; half of the time they are grouped by person.

    `pronouns` is how often a person who was the subject just before is "she" or "he", `joins` how often two
    facts share a sentence.
    """
    order = list(facts)
    rng.shuffle(order)
    if rng.random() < 0.6:
        people = list(dict.fromkeys(f.person for f in order))
        order.sort(key=lambda f: people.index(f.person))
    text = ""
    starts: list[int] = []
    previous = ""
    open_sentence = False
    for index, fact in enumerate(order):
        pronoun = fact.person == previous and rng.random() < pronouns
        words = clause(rng, fact, pronoun=pronoun)
        if open_sentence:
            text += rng.choice((" and ", ", and ", " while ", ", but "))
        else:
            text += " " if text else ""
            words = capitalise(words)
        begin = len(text)
        text += words
        starts.append(begin + words.rindex(fact.value) if fact.value in words else begin)
        open_sentence = not open_sentence and index + 1 < len(order) and rng.random() < joins
        text += "" if open_sentence else "."
        previous = fact.person
    return Passage(text, tuple(order), tuple(starts))
