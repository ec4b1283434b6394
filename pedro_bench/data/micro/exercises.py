"""What alpaca and copa are made of: operations on short lists of words; chains of causes and effects.

An operation has an instruction, a list and a result. A chain has three events, each the cause of the next; a
middle event has a cause and an effect among its neighbours, so that a choice between the two needs the direction
and not only the topic. {n} is a person.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from pedro_bench.data.micro import lexicon

_ORDINALS: Final[tuple[str, ...]] = ("first", "second", "third", "fourth")
_WORDS: Final[tuple[str, ...]] = tuple(
    dict.fromkeys(w for group in lexicon.GROUPS.values() for w in group)
)


class Exercise(NamedTuple):
    """One operation: an instruction, the same as a statement's opening, the input and the result."""

    instruction: str
    statement: str
    source: str
    result: str


def joined(words: list[str]) -> str:
    """Write words as a list with commas."""
    return ", ".join(words)


def _draw(rng: Random, low: int, high: int) -> list[str]:
    return rng.sample(_WORDS, rng.randint(low, high))


def _position(rng: Random) -> Exercise:
    words = _draw(rng, 3, 6)
    last = rng.random() < 0.35
    place = -1 if last else rng.randrange(min(len(words), 4))
    name = "last" if last else _ORDINALS[place]
    instruction = rng.choice(
        (
            f"Give the {name} word of the list.",
            f"Which word is the {name} one?",
            f"Name the {name} item.",
        )
    )
    return Exercise(instruction, f"the {name} word is", joined(words), words[place])


def _neighbour(rng: Random) -> Exercise:
    words = _draw(rng, 4, 6)
    index = rng.randrange(1, len(words) - 1)
    after = rng.random() < 0.5
    side = "after" if after else "before"
    result = words[index + 1] if after else words[index - 1]
    instruction = rng.choice(
        (f"Which word stands {side} {words[index]}?", f"Give the word {side} {words[index]}.")
    )
    return Exercise(instruction, f"the word {side} {words[index]} is", joined(words), result)


def _reverse(rng: Random) -> Exercise:
    words = _draw(rng, 2, 4)
    instruction = rng.choice(
        ("Write the list backwards.", "Turn the list round.", "Reverse the order of the words.")
    )
    return Exercise(instruction, "backwards it is", joined(words), joined(words[::-1]))


def _repeat(rng: Random) -> Exercise:
    words = _draw(rng, 3, 6)
    instruction = rng.choice(("Repeat the list.", "Write the same list again.", "Copy the words."))
    return Exercise(instruction, "the same again is", joined(words), joined(words))


def _without(rng: Random) -> Exercise:
    words = _draw(rng, 3, 5)
    word = rng.choice(words)
    instruction = rng.choice(
        (f"Leave out {word}.", f"Write the list without {word}.", f"Remove {word} from the list.")
    )
    rest = [w for w in words if w != word]
    return Exercise(instruction, f"without {word} it is", joined(words), joined(rest))


def _member(rng: Random) -> Exercise:
    kind, *others = rng.sample(list(lexicon.GROUPS), rng.randint(3, 5))
    wanted = rng.choice(lexicon.GROUPS[kind])
    words = [wanted, *(rng.choice(lexicon.GROUPS[o]) for o in others)]
    rng.shuffle(words)
    instruction = rng.choice(
        (
            f"Pick the {kind} from the list.",
            f"Which of these is a kind of {kind}?",
            f"Find the {kind}.",
        )
    )
    return Exercise(instruction, f"the {kind} is", joined(words), wanted)


def _odd_one(rng: Random) -> Exercise:
    kind, other = rng.sample(list(lexicon.GROUPS), 2)
    words = rng.sample(lexicon.GROUPS[kind], rng.randint(2, 4))
    odd = rng.choice(lexicon.GROUPS[other])
    words.insert(rng.randint(0, len(words)), odd)
    instruction = rng.choice(("Which word does not belong to the others?", "Find the odd one out."))
    return Exercise(instruction, "the odd one out is", joined(words), odd)


def _opposites(rng: Random) -> Exercise:
    pairs = [
        p if rng.random() < 0.5 else p[::-1]
        for p in rng.sample(lexicon.OPPOSITES, rng.randint(1, 3))
    ]
    instruction = rng.choice(
        ("Write the opposite of each word.", "Turn each word into its opposite.")
    )
    source, result = joined([a for a, _ in pairs]), joined([b for _, b in pairs])
    return Exercise(instruction, "the opposite is", source, result)


def _count(rng: Random) -> Exercise:
    words = _draw(rng, 2, 7)
    instruction = rng.choice(("Count the words.", "How many words are in the list?"))
    return Exercise(
        instruction, "the number of words is", joined(words), lexicon.NUMBERS[len(words) - 2]
    )


def _swap(rng: Random) -> Exercise:
    words = _draw(rng, 3, 5)
    swapped = [words[-1], *words[1:-1], words[0]]
    instruction = rng.choice(
        ("Swap the first and the last word.", "Let the first and the last word change places.")
    )
    return Exercise(instruction, "with the ends swapped it is", joined(words), joined(swapped))


def _join(rng: Random) -> Exercise:
    words = _draw(rng, 2, 4)
    instruction = rng.choice(("Join the words with and.", "Put and between the words."))
    return Exercise(instruction, "joined it is", joined(words), " and ".join(words))


def _sort(rng: Random) -> Exercise:
    indices = rng.sample(range(len(lexicon.NUMBERS)), rng.randint(2, 3))
    up = rng.random() < 0.5
    order = sorted(indices, reverse=not up)
    way = "smallest" if up else "largest"
    instruction = rng.choice(
        (f"Sort the numbers, the {way} first.", f"Order the numbers from the {way} on.")
    )
    source, result = (joined([lexicon.NUMBERS[i] for i in some]) for some in (indices, order))
    return Exercise(instruction, f"sorted from the {way} on it is", source, result)


_MAKERS: Final[tuple[Callable[[Random], Exercise], ...]] = (
    _position,
    _position,
    _neighbour,
    _reverse,
    _repeat,
    _without,
    _member,
    _odd_one,
    _opposites,
    _count,
    _swap,
    _join,
    _sort,
)


def exercise(rng: Random) -> Exercise:
    """Draw an operation with its input and result."""
    return rng.choice(_MAKERS)(rng)


def words_of_lists() -> tuple[str, ...]:
    """All words that lists are made of."""
    return _WORDS


_CHAINS: Final = """
it rained all night | heavy rain fell for hours > the river rose | the river became very high > the bridge was closed | nobody could cross the bridge
{n} forgot the key | {n} left the key at work > {n} stood before a locked door | {n} could not get into the house > {n} slept at a hotel | {n} spent the night with a friend
{n} studied every evening | {n} learned hard for weeks > {n} passed the exam | {n} did well in the exam > the teacher praised {n} | {n} got a prize at school
the fire went out | nobody put wood on the fire > the room became cold | it grew cold in the room > {n} put on a coat | {n} asked for a blanket
{n} ran very far | {n} climbed a steep hill > {n} was tired | {n} had no strength left > {n} went to bed early | {n} fell asleep on the sofa
a storm hit the town | lightning struck a tower > the power failed | the lights went off > {n} lit a candle | {n} looked for a lamp
{n} ate too much cake | {n} drank old milk > {n} felt sick | {n} had a pain in the belly > {n} saw the doctor | {n} took some medicine
the sun came out | it became warm in spring > the snow melted | the ice on the lake broke > the children stopped skating | the snowman was gone
{n} slept too long | the alarm did not ring > {n} missed the bus | {n} came too late for the bus > {n} walked to work | {n} took a taxi
{n} watered the plant | {n} took good care of the plant > the plant grew | the plant got new leaves > {n} needed a bigger pot | {n} cut the plant
the baby was hungry | nobody had fed the baby > the baby cried | the baby made a lot of noise > the neighbours woke up | {n} warmed a bottle
{n} told a joke | {n} made a funny face > everyone laughed | the whole class laughed > the teacher became angry | the lesson had to stop
the road was icy | the street was full of snow > the car slipped | the car hit a tree > {n} called for help | the police came
{n} trained every day | {n} had a good coach > {n} won the race | {n} was the first to arrive > {n} got a medal | the newspaper wrote about {n}
{n} left the window open | {n} did not close the cage > the bird flew away | the bird was gone > {n} hung up a note | {n} searched in the trees
the cat knocked the vase | a ball hit the vase > the vase broke | the vase fell to pieces > {n} swept the floor | {n} bought some glue
{n} spilled the ink | a pen leaked in the bag > the shirt got a stain | there was a spot on the shirt > {n} washed the shirt | {n} wore another shirt
the cook lost count of the salt | somebody added salt twice > the soup was too salty | nobody could eat the soup > the guests asked for water | the guests sent the soup back
{n} dropped the phone | {n} sat down on the phone > the screen cracked | the phone stopped working > {n} went to a repair shop | {n} bought a new phone
no rain fell all summer | the summer was hot and dry > the field dried out | the corn died > the price of bread rose | the farmer lost money
{n} worked many extra hours | {n} found a better job > {n} earned more money | {n} could save some money > {n} bought a house | {n} paid all debts
the dog saw a stranger | somebody rang the bell > the dog barked | the dog ran to the door > {n} looked outside | {n} calmed the dog
{n} read a sad letter | {n} heard bad news > {n} began to cry | tears ran down the face of {n} > a friend hugged {n} | somebody gave {n} a handkerchief
the shop lowered the prices | a sale began > many people came to the shop | the shop was full > the shelves were soon empty | the owner hired more people
{n} forgot the bread in the oven | the oven was too hot > the bread burned | the kitchen filled with smoke > the fire alarm rang | {n} opened all the windows
the bridge was being repaired | an accident blocked the road > the cars could not move | there was a long line of cars > {n} arrived late at work | {n} turned round and went home
the wind blew hard | a storm came from the sea > the tree fell | the roof lost some stones > the garden wall was damaged | a worker had to repair the roof
{n} walked in the rain | {n} sat in a cold wind > {n} caught a cold | {n} began to cough > {n} stayed in bed | {n} drank hot tea
the singer was famous | the tickets were cheap > the concert was sold out | a long line stood before the hall > {n} got no ticket | a second concert was planned
{n} practised the piano | {n} took lessons from a master > {n} played without a mistake | {n} gave a great concert > the people clapped | the audience stood up
the tyre hit a nail | somebody cut the tyre > the bike had a flat tyre | air came out of the tyre > {n} pushed the bike home | {n} looked for a pump
{n} wore new shoes | the shoes were too small > {n} had sore feet | it hurt {n} to walk > {n} sat down on a bench | {n} took off the shoes
the ship hit a rock | a hole was in the ship > water came into the ship | the ship began to sink > the sailors climbed into boats | the captain called for rescue
{n} heard a loud noise | a bad dream scared {n} > {n} woke up | {n} could not sleep > {n} was tired in the morning | {n} drank a strong coffee
the team had a new player | the goalkeeper was very good > the team won the game | the team beat its rival > the fans sang all night | the city held a party
{n} lied to a friend | {n} broke a promise > the friend was angry | the friend did not speak to {n} > {n} said sorry | {n} wrote a long letter
"""


class Chain(NamedTuple):
    """Three events in a row; each has several phrasings."""

    events: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _read(line: str) -> Chain:
    first, second, third = (
        tuple(phrase.strip() for phrase in event.split("|")) for event in line.split(">")
    )
    return Chain((first, second, third))


CHAINS: Final[tuple[Chain, ...]] = tuple(_read(line) for line in _CHAINS.strip().splitlines())
TIMES: Final[tuple[str, ...]] = (
    "",
    "",
    "in the end ",
    "last year ",
    "that day ",
    "on Monday ",
    "on Friday ",
    "in winter ",
    "one morning ",
    "yesterday ",
)


def tell(rng: Random, chain: Chain, step: int, name: str) -> str:
    """Say one event (step 0, 1 or 2) of a chain as a clause about a person."""
    return rng.choice(chain.events[step]).format(n=name)


def when(rng: Random) -> str:
    """A time for a clause, often none, with a space behind it."""
    return rng.choice(TIMES)
