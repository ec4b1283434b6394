"""Operations on short lists of words: what is done, how it is told and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from pedro_bench.data.micro import lexicon as lex

_ORDINALS: Final[tuple[str, ...]] = ("first", "second", "third", "fourth")
_WORDS: Final[tuple[str, ...]] = tuple(
    dict.fromkeys(w for group in lex.GROUPS.values() for w in group)
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
    kind, *others = rng.sample(list(lex.GROUPS), rng.randint(3, 5))
    wanted = rng.choice(lex.GROUPS[kind])
    words = [wanted, *(rng.choice(lex.GROUPS[o]) for o in others)]
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
    kind, other = rng.sample(list(lex.GROUPS), 2)
    words = rng.sample(lex.GROUPS[kind], rng.randint(2, 4))
    odd = rng.choice(lex.GROUPS[other])
    words.insert(rng.randint(0, len(words)), odd)
    instruction = rng.choice(("Which word does not belong to the others?", "Find the odd one out."))
    return Exercise(instruction, "the odd one out is", joined(words), odd)


def _opposites(rng: Random) -> Exercise:
    pairs = [
        p if rng.random() < 0.5 else p[::-1] for p in rng.sample(lex.OPPOSITES, rng.randint(1, 3))
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
        instruction, "the number of words is", joined(words), lex.NUMBERS[len(words) - 2]
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
    indices = rng.sample(range(len(lex.NUMBERS)), rng.randint(2, 3))
    up = rng.random() < 0.5
    order = sorted(indices, reverse=not up)
    way = "smallest" if up else "largest"
    instruction = rng.choice(
        (f"Sort the numbers, the {way} first.", f"Order the numbers from the {way} on.")
    )
    source, result = (joined([lex.NUMBERS[i] for i in some]) for some in (indices, order))
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
