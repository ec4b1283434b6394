"""The words of the micro world: people, values of facts, and words for lists.

Every word here becomes one token of the embedded tokenizer. Nothing is taken from a data set.
"""

from __future__ import annotations

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
