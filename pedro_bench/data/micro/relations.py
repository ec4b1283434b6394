"""The relations of the micro world: what can be told of a person, and all its phrasings.

A clause has no capital and no stop of its own, so that it can be said alone, after a pronoun, inside a
claim or joined to another one. Slots: {s} the person as subject ("Ana", "she"), {o} the owner ("Ana's",
"her"), {n} the name, {v} the value, {a} the value with its article.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from pedro_bench.data.micro import lexicon as lex


@dataclass(frozen=True)
class Relation:
    """How one relation is said, denied and asked.

    Attributes:
        draw: Makes a value.
        says: Clauses that state the fact.
        denies: Clauses that deny it.
        asks: Questions for the value, without the question mark.
        checks: Yes/no questions, without the question mark.
        whos: Clauses with {s} first that become questions for the person ("who lives in Oslo").
    """

    draw: Callable[[Random], str]
    says: tuple[str, ...]
    denies: tuple[str, ...]
    asks: tuple[str, ...]
    checks: tuple[str, ...]
    whos: tuple[str, ...]


def _one_of(values: tuple[str, ...]) -> Callable[[Random], str]:
    return lambda rng: rng.choice(values)


def _colour(rng: Random) -> str:
    colour = rng.choice(lex.COLOURS)
    return f"{rng.choice(lex.SHADES)} {colour}" if rng.random() < 0.3 else colour


def _food(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(lex.FOODS)
    dish = f"{rng.choice(lex.FLAVOURS)} {rng.choice(lex.DISHES)}"
    return f"{rng.choice(('hot', 'cold'))} {dish}" if kind > 0.85 else dish


def _material(rng: Random) -> str:
    material = rng.choice(lex.MATERIALS)
    return f"{rng.choice(('old', 'dark', 'thin'))} {material}" if rng.random() < 0.25 else material


RELATIONS: Final[dict[str, Relation]] = {
    "city": Relation(
        _one_of(lex.CITIES),
        (
            "{s} lives in {v}",
            "{o} home is in {v}",
            "{s} has a house in {v}",
            "{s} moved to {v}",
            "the city of {n} is {v}",
        ),
        ("{s} does not live in {v}", "{o} home is not in {v}"),
        (
            "where does {s} live",
            "in which city is {o} home",
            "what is the city of {n}",
            "which city did {s} move to",
        ),
        (
            "does {s} live in {v}",
            "is {o} home in {v}",
            "did {s} move to {v}",
            "is {v} the city of {n}",
        ),
        ("lives in {v}", "has a house in {v}", "moved to {v}"),
    ),
    "country": Relation(
        _one_of(lex.COUNTRIES),
        (
            "{s} was born in {v}",
            "{s} comes from {v}",
            "{o} country of birth is {v}",
            "{s} grew up in {v}",
        ),
        ("{s} was not born in {v}", "{s} does not come from {v}"),
        ("where was {s} born", "which country does {s} come from", "what is {o} country of birth"),
        ("was {s} born in {v}", "does {s} come from {v}", "is {v} {o} country of birth"),
        ("was born in {v}", "comes from {v}", "grew up in {v}"),
    ),
    "job": Relation(
        _one_of(lex.JOBS),
        (
            "{s} works as {a}",
            "{s} is {a}",
            "{o} job is that of {a}",
            "by trade {s} is {a}",
            "{s} earns money as {a}",
        ),
        ("{s} does not work as {a}", "{s} is not {a}"),
        (
            "what is the job of {n}",
            "what does {s} work as",
            "what is {s} by trade",
            "how does {s} earn money",
        ),
        ("does {s} work as {a}", "is {s} {a}", "is {o} job that of {a}", "is {s} {a} by trade"),
        ("works as {a}", "is {a} by trade", "earns money as {a}"),
    ),
    "pet": Relation(
        _one_of(lex.PETS),
        (
            "{s} owns {a}",
            "{s} has a pet {v}",
            "{o} pet is {a}",
            "{s} feeds {a} every day",
            "{a} belongs to {n}",
        ),
        ("{s} does not own {a}", "{o} pet is not {a}"),
        (
            "what pet does {s} have",
            "which animal does {s} own",
            "what is {o} pet",
            "which animal belongs to {n}",
        ),
        ("does {s} own {a}", "is {o} pet {a}", "does {s} have a pet {v}", "does {a} belong to {n}"),
        ("owns {a}", "has a pet {v}", "feeds {a} every day"),
    ),
    "coat": Relation(
        _colour,
        (
            "{o} coat is {v}",
            "{s} wears a {v} coat",
            "the coat of {n} is {v}",
            "the colour of {o} coat is {v}",
            "{s} bought a {v} coat",
        ),
        ("{o} coat is not {v}", "{s} does not wear a {v} coat"),
        (
            "what colour is {o} coat",
            "what colour is the coat of {n}",
            "in which colour did {s} buy a coat",
        ),
        (
            "is {o} coat {v}",
            "does {s} wear a {v} coat",
            "is the coat of {n} {v}",
            "did {s} buy a {v} coat",
        ),
        ("wears a {v} coat", "bought a {v} coat", "has a {v} coat"),
    ),
    "food": Relation(
        _food,
        (
            "{s} likes to eat {v}",
            "{o} favourite food is {v}",
            "{s} eats {v} every day",
            "for lunch {s} has {v}",
            "{s} loves {v}",
        ),
        ("{s} does not like to eat {v}", "{o} favourite food is not {v}"),
        (
            "what does {s} like to eat",
            "what is {o} favourite food",
            "what does {s} have for lunch",
            "which food does {s} love",
        ),
        (
            "does {s} like to eat {v}",
            "is {o} favourite food {v}",
            "does {s} have {v} for lunch",
            "is {v} the food that {s} loves",
        ),
        ("likes to eat {v}", "has {v} for lunch", "eats {v} every day"),
    ),
    "drink": Relation(
        _one_of(lex.DRINKS),
        (
            "{s} drinks {v}",
            "{o} favourite drink is {v}",
            "{s} always orders {v}",
            "in the morning {s} takes a cup of {v}",
        ),
        ("{s} does not drink {v}", "{o} favourite drink is not {v}"),
        (
            "what does {s} drink",
            "what is {o} favourite drink",
            "what does {s} always order",
            "what is in the cup that {s} takes in the morning",
        ),
        ("does {s} drink {v}", "is {o} favourite drink {v}", "does {s} always order {v}"),
        ("drinks {v}", "always orders {v}", "takes a cup of {v} in the morning"),
    ),
    "box": Relation(
        _material,
        (
            "{o} box is made of {v}",
            "{s} keeps a box made of {v}",
            "the box of {n} is made of {v}",
            "{s} made a box out of {v}",
        ),
        ("{o} box is not made of {v}", "{s} does not keep a box made of {v}"),
        (
            "what is {o} box made of",
            "what did {s} make a box out of",
            "which material is the box of {n} made of",
        ),
        (
            "is {o} box made of {v}",
            "does {s} keep a box made of {v}",
            "did {s} make a box out of {v}",
        ),
        ("keeps a box made of {v}", "made a box out of {v}", "has a box made of {v}"),
    ),
    "music": Relation(
        _one_of(lex.INSTRUMENTS),
        (
            "{s} plays the {v}",
            "{o} instrument is the {v}",
            "{s} is learning the {v}",
            "{s} takes lessons on the {v}",
        ),
        ("{s} does not play the {v}", "{o} instrument is not the {v}"),
        ("what does {s} play", "which instrument is {s} learning", "what is {o} instrument"),
        ("does {s} play the {v}", "is {o} instrument the {v}", "is {s} learning the {v}"),
        ("plays the {v}", "is learning the {v}", "takes lessons on the {v}"),
    ),
    "hobby": Relation(
        _one_of(lex.HOBBIES),
        (
            "{o} hobby is {v}",
            "{s} enjoys {v}",
            "{s} spends the weekend on {v}",
            "the hobby of {n} is {v}",
        ),
        ("{o} hobby is not {v}", "{s} does not enjoy {v}"),
        ("what is {o} hobby", "what does {s} enjoy", "what does {s} spend the weekend on"),
        ("is {o} hobby {v}", "does {s} enjoy {v}", "does {s} spend the weekend on {v}"),
        ("enjoys {v}", "spends the weekend on {v}", "has {v} as a hobby"),
    ),
    "travel": Relation(
        _one_of(lex.VEHICLES),
        (
            "{s} travels by {v}",
            "{s} goes to work by {v}",
            "{s} takes the {v} to work",
            "{s} gets around by {v}",
        ),
        ("{s} does not travel by {v}", "{s} does not go to work by {v}"),
        ("how does {s} travel", "how does {s} go to work", "what does {s} take to work"),
        ("does {s} travel by {v}", "does {s} go to work by {v}", "does {s} take the {v} to work"),
        ("travels by {v}", "goes to work by {v}", "takes the {v} to work"),
    ),
    "birthday": Relation(
        _one_of(lex.MONTHS),
        (
            "{o} birthday is in {v}",
            "{s} has a birthday in {v}",
            "the birthday of {n} is in {v}",
            "every {v} {s} has a birthday party",
        ),
        ("{o} birthday is not in {v}", "{s} does not have a birthday in {v}"),
        (
            "when is {o} birthday",
            "in which month is the birthday of {n}",
            "in which month does {s} have a birthday party",
        ),
        (
            "is {o} birthday in {v}",
            "is the birthday of {n} in {v}",
            "does {s} have a birthday in {v}",
        ),
        ("has a birthday in {v}", "has a birthday party every {v}"),
    ),
    "children": Relation(
        _one_of(lex.NUMBERS),
        (
            "{s} has {v} children",
            "{s} is the parent of {v} children",
            "{o} house has {v} children in it",
        ),
        ("{s} does not have {v} children", "{s} is not the parent of {v} children"),
        ("how many children does {s} have", "how many children are in {o} house"),
        ("does {s} have {v} children", "is {s} the parent of {v} children"),
        ("has {v} children", "is the parent of {v} children"),
    ),
    "garden": Relation(
        _one_of(lex.FLOWERS),
        (
            "{s} grows {v}",
            "{s} grows {v} in the garden",
            "{o} garden is full of {v}",
            "in the garden of {n} there are {v}",
        ),
        ("{s} does not grow {v}", "{o} garden is not full of {v}"),
        ("what does {s} grow", "what is {o} garden full of", "what is there in the garden of {n}"),
        ("does {s} grow {v}", "is {o} garden full of {v}", "are there {v} in the garden of {n}"),
        ("grows {v}", "grows {v} in the garden", "has a garden full of {v}"),
    ),
}
