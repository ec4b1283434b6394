"""The words of the micro world, and its relations: what can be told of a person, with all phrasings.

Every word here becomes one token of the embedded tokenizer. Nothing is taken from a data set. A clause has no
capital and no stop of its own, so that it can be said alone, after a pronoun, inside a claim or joined to
another one. Slots: {s} the person as subject ("Ana", "she"), {o} the owner ("Ana's", "her"), {n} the name,
{v} the value, {a} the value with its article.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

WOMEN: Final[tuple[str, ...]] = tuple(
    "Ana Cara Eva Hana Jill Lena Nora Pia Rosa Tess Vera Zoe Ida Mona Ruth Gwen Lucy Olga Emma Dora".split()
)
MEN: Final[tuple[str, ...]] = tuple(
    "Ben Dan Finn Gus Ivo Karl Milo Otto Quin Sam Udo Wes Yuri Hugo Leo Max Paul Tom Rex Noah".split()
)
NAMES: Final[tuple[str, ...]] = WOMEN + MEN

CITIES: Final[tuple[str, ...]] = tuple(
    "Oslo Rome Lima Cairo Delhi Paris Tokyo Quito Berlin Madrid Dublin Athens Vienna Prague Lagos "
    "Havana Warsaw Lisbon Seoul Boston".split()
)
COUNTRIES: Final[tuple[str, ...]] = tuple(
    "Norway Italy Peru Egypt India France Japan Spain Ireland Greece Austria Chile Cuba Poland "
    "Kenya Canada".split()
)
JOBS: Final[tuple[str, ...]] = (
    *"baker doctor farmer pilot singer teacher tailor miner judge sailor nurse painter".split(),
    *"writer dentist gardener plumber".split(),
    "bus driver",
    "school teacher",
    "taxi driver",
    "head cook",
    "ship cook",
    "night nurse",
)
PETS: Final[tuple[str, ...]] = tuple(
    "cat dog horse goat duck fox owl crow pig hen frog bee rabbit parrot turtle donkey sheep mouse".split()
)
COLOURS: Final[tuple[str, ...]] = tuple(
    "red blue green black white grey brown pink yellow purple orange".split()
)
SHADES: Final[tuple[str, ...]] = ("dark", "light", "bright")
FOODS: Final[tuple[str, ...]] = tuple("rice bread cheese beans fish noodles eggs nuts corn".split())
FLAVOURS: Final[tuple[str, ...]] = tuple(
    "apple cherry onion honey lemon pepper tomato plum".split()
)
DISHES: Final[tuple[str, ...]] = tuple("soup cake pie salad stew bread".split())
DRINKS: Final[tuple[str, ...]] = (
    *"milk tea coffee water cocoa".split(),
    "green tea",
    "black tea",
    "black coffee",
    "apple juice",
    "cherry juice",
    "lemon water",
    "hot milk",
    "plum juice",
)
MATERIALS: Final[tuple[str, ...]] = tuple(
    "glass wood stone iron paper silk clay wool leather copper silver gold".split()
)
INSTRUMENTS: Final[tuple[str, ...]] = tuple(
    "piano violin flute drum harp guitar trumpet organ cello banjo".split()
)
HOBBIES: Final[tuple[str, ...]] = tuple(
    "swimming sailing running dancing skating fishing climbing cycling rowing boxing chess tennis".split()
)
VEHICLES: Final[tuple[str, ...]] = tuple(
    "train bus bike boat car tram plane taxi truck ferry".split()
)
MONTHS: Final[tuple[str, ...]] = tuple(
    "January February March April May June July August September October November December".split()
)
NUMBERS: Final[tuple[str, ...]] = tuple(
    "two three four five six seven eight nine ten eleven twelve".split()
)
FLOWERS: Final[tuple[str, ...]] = tuple(
    "roses tulips lilies daisies herbs carrots melons grapes peas beets".split()
)

OPPOSITES: Final[tuple[tuple[str, str], ...]] = (
    ("hot", "cold"),
    ("big", "small"),
    ("old", "young"),
    ("fast", "slow"),
    ("wet", "dry"),
    ("dark", "light"),
    ("loud", "quiet"),
    ("early", "late"),
    ("high", "low"),
    ("hard", "soft"),
    ("open", "closed"),
    ("full", "empty"),
    ("rich", "poor"),
    ("happy", "sad"),
    ("long", "short"),
    ("clean", "dirty"),
)

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "animal": PETS,
    "colour": COLOURS,
    "number": NUMBERS,
    "person": NAMES,
    "city": CITIES,
    "country": COUNTRIES,
    "month": MONTHS,
    "flavour": FLAVOURS,
    "material": MATERIALS,
    "instrument": INSTRUMENTS,
    "vehicle": VEHICLES,
}
"""Groups of one-word members for list tasks; no word stands in two groups that are mixed."""


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun by its first letter."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


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
    colour = rng.choice(COLOURS)
    return f"{rng.choice(SHADES)} {colour}" if rng.random() < 0.3 else colour


def _food(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(FOODS)
    dish = f"{rng.choice(FLAVOURS)} {rng.choice(DISHES)}"
    return f"{rng.choice(('hot', 'cold'))} {dish}" if kind > 0.85 else dish


def _material(rng: Random) -> str:
    material = rng.choice(MATERIALS)
    return f"{rng.choice(('old', 'dark', 'thin'))} {material}" if rng.random() < 0.25 else material


_PHRASES: Final = """
city
    {s} lives in {v} | {o} home is in {v} | {s} has a house in {v} | {s} moved to {v} | the city of {n} is {v}
    {s} does not live in {v} | {o} home is not in {v}
    where does {s} live | in which city is {o} home | what is the city of {n} | which city did {s} move to
    does {s} live in {v} | is {o} home in {v} | did {s} move to {v} | is {v} the city of {n}
    lives in {v} | has a house in {v} | moved to {v}
country
    {s} was born in {v} | {s} comes from {v} | {o} country of birth is {v} | {s} grew up in {v}
    {s} was not born in {v} | {s} does not come from {v}
    where was {s} born | which country does {s} come from | what is {o} country of birth
    was {s} born in {v} | does {s} come from {v} | is {v} {o} country of birth
    was born in {v} | comes from {v} | grew up in {v}
job
    {s} works as {a} | {s} is {a} | {o} job is that of {a} | by trade {s} is {a} | {s} earns money as {a}
    {s} does not work as {a} | {s} is not {a}
    what is the job of {n} | what does {s} work as | what is {s} by trade | how does {s} earn money
    does {s} work as {a} | is {s} {a} | is {o} job that of {a} | is {s} {a} by trade
    works as {a} | is {a} by trade | earns money as {a}
pet
    {s} owns {a} | {s} has a pet {v} | {o} pet is {a} | {s} feeds {a} every day | {a} belongs to {n}
    {s} does not own {a} | {o} pet is not {a}
    what pet does {s} have | which animal does {s} own | what is {o} pet | which animal belongs to {n}
    does {s} own {a} | is {o} pet {a} | does {s} have a pet {v} | does {a} belong to {n}
    owns {a} | has a pet {v} | feeds {a} every day
coat
    {o} coat is {v} | {s} wears a {v} coat | the coat of {n} is {v} | the colour of {o} coat is {v} | {s} bought a {v} coat
    {o} coat is not {v} | {s} does not wear a {v} coat
    what colour is {o} coat | what colour is the coat of {n} | in which colour did {s} buy a coat
    is {o} coat {v} | does {s} wear a {v} coat | is the coat of {n} {v} | did {s} buy a {v} coat
    wears a {v} coat | bought a {v} coat | has a {v} coat
food
    {s} likes to eat {v} | {o} favourite food is {v} | {s} eats {v} every day | for lunch {s} has {v} | {s} loves {v}
    {s} does not like to eat {v} | {o} favourite food is not {v}
    what does {s} like to eat | what is {o} favourite food | what does {s} have for lunch | which food does {s} love
    does {s} like to eat {v} | is {o} favourite food {v} | does {s} have {v} for lunch | is {v} the food that {s} loves
    likes to eat {v} | has {v} for lunch | eats {v} every day
drink
    {s} drinks {v} | {o} favourite drink is {v} | {s} always orders {v} | in the morning {s} takes a cup of {v}
    {s} does not drink {v} | {o} favourite drink is not {v}
    what does {s} drink | what is {o} favourite drink | what does {s} always order | what is in the cup that {s} takes in the morning
    does {s} drink {v} | is {o} favourite drink {v} | does {s} always order {v}
    drinks {v} | always orders {v} | takes a cup of {v} in the morning
box
    {o} box is made of {v} | {s} keeps a box made of {v} | the box of {n} is made of {v} | {s} made a box out of {v}
    {o} box is not made of {v} | {s} does not keep a box made of {v}
    what is {o} box made of | what did {s} make a box out of | which material is the box of {n} made of
    is {o} box made of {v} | does {s} keep a box made of {v} | did {s} make a box out of {v}
    keeps a box made of {v} | made a box out of {v} | has a box made of {v}
music
    {s} plays the {v} | {o} instrument is the {v} | {s} is learning the {v} | {s} takes lessons on the {v}
    {s} does not play the {v} | {o} instrument is not the {v}
    what does {s} play | which instrument is {s} learning | what is {o} instrument
    does {s} play the {v} | is {o} instrument the {v} | is {s} learning the {v}
    plays the {v} | is learning the {v} | takes lessons on the {v}
hobby
    {o} hobby is {v} | {s} enjoys {v} | {s} spends the weekend on {v} | the hobby of {n} is {v}
    {o} hobby is not {v} | {s} does not enjoy {v}
    what is {o} hobby | what does {s} enjoy | what does {s} spend the weekend on
    is {o} hobby {v} | does {s} enjoy {v} | does {s} spend the weekend on {v}
    enjoys {v} | spends the weekend on {v} | has {v} as a hobby
travel
    {s} travels by {v} | {s} goes to work by {v} | {s} takes the {v} to work | {s} gets around by {v}
    {s} does not travel by {v} | {s} does not go to work by {v}
    how does {s} travel | how does {s} go to work | what does {s} take to work
    does {s} travel by {v} | does {s} go to work by {v} | does {s} take the {v} to work
    travels by {v} | goes to work by {v} | takes the {v} to work
birthday
    {o} birthday is in {v} | {s} has a birthday in {v} | the birthday of {n} is in {v} | every {v} {s} has a birthday party
    {o} birthday is not in {v} | {s} does not have a birthday in {v}
    when is {o} birthday | in which month is the birthday of {n} | in which month does {s} have a birthday party
    is {o} birthday in {v} | is the birthday of {n} in {v} | does {s} have a birthday in {v}
    has a birthday in {v} | has a birthday party every {v}
children
    {s} has {v} children | {s} is the parent of {v} children | {o} house has {v} children in it
    {s} does not have {v} children | {s} is not the parent of {v} children
    how many children does {s} have | how many children are in {o} house
    does {s} have {v} children | is {s} the parent of {v} children
    has {v} children | is the parent of {v} children
garden
    {s} grows {v} | {s} grows {v} in the garden | {o} garden is full of {v} | in the garden of {n} there are {v}
    {s} does not grow {v} | {o} garden is not full of {v}
    what does {s} grow | what is {o} garden full of | what is there in the garden of {n}
    does {s} grow {v} | is {o} garden full of {v} | are there {v} in the garden of {n}
    grows {v} | grows {v} in the garden | has a garden full of {v}
"""
"""Name of a relation, then one line each of `says`, `denies`, `asks`, `checks` and `whos`."""

_DRAWS: Final[dict[str, Callable[[Random], str]]] = {
    "city": _one_of(CITIES),
    "country": _one_of(COUNTRIES),
    "job": _one_of(JOBS),
    "pet": _one_of(PETS),
    "coat": _colour,
    "food": _food,
    "drink": _one_of(DRINKS),
    "box": _material,
    "music": _one_of(INSTRUMENTS),
    "hobby": _one_of(HOBBIES),
    "travel": _one_of(VEHICLES),
    "birthday": _one_of(MONTHS),
    "children": _one_of(NUMBERS),
    "garden": _one_of(FLOWERS),
}
"""Name of a relation -> what makes a value."""


def _relations() -> dict[str, Relation]:
    lines = [line.strip() for line in _PHRASES.strip().splitlines()]
    relations = {}
    for start in range(0, len(lines), 6):
        name, *phrasings = lines[start : start + 6]
        says, denies, asks, checks, whos = (tuple(line.split(" | ")) for line in phrasings)
        relations[name] = Relation(_DRAWS[name], says, denies, asks, checks, whos)
    return relations


RELATIONS: Final[dict[str, Relation]] = _relations()
