"""Reviews whose overall verdict needs more than the feeling of single words.

A review is built for a wanted verdict. Each frame uses words of praise and of blame in a way that the
count of either tells nothing: negation, contrast, comparison, hope against outcome, someone proved wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from pedro_bench.data.micro import lexicon

PRAISE: Final[tuple[str, ...]] = tuple(
    "lovely brilliant charming superb warm funny moving delightful clever gripping fresh wonderful "
    "elegant splendid touching lively".split()
)
BLAME: Final[tuple[str, ...]] = tuple(
    "dull awful boring clumsy lifeless tedious weak dreadful messy painful stale terrible shallow "
    "tiresome bland silly".split()
)
WORKS: Final[tuple[str, ...]] = tuple(
    "film book play song story show meal concert novel series".split()
)
PARTS: Final[tuple[str, ...]] = tuple(
    "plot cast ending pace tone script music writing opening middle setting mood".split()
)
_DEGREES: Final[tuple[str, ...]] = ("", "", "very ", "quite ", "truly ", "rather ")


class _Words:
    """Draws words for one review: good ones agree with the wanted verdict, bad ones do not."""

    def __init__(self, rng: Random, positive: bool) -> None:
        self.rng = rng
        self.positive = positive
        self._agree = PRAISE if positive else BLAME
        self._oppose = BLAME if positive else PRAISE
        self.work = rng.choice(WORKS)
        self.part, self.part2 = rng.sample(PARTS, 2)
        self.name, self.name2 = rng.sample(lexicon.NAMES, 2)

    def agree(self) -> str:
        """A word that speaks for the verdict."""
        return self.rng.choice(_DEGREES) + self.rng.choice(self._agree)

    def oppose(self) -> str:
        """A word that speaks against the verdict."""
        return self.rng.choice(_DEGREES) + self.rng.choice(self._oppose)

    def bare(self, agree: bool) -> str:
        """A word without a degree."""
        return self.rng.choice(self._agree if agree else self._oppose)

    def pick(self, *options: str) -> str:
        """One of the options."""
        return self.rng.choice(options)

    def verb(self, positive: bool) -> str:
        """A verb of liking or of disliking, in the past."""
        likes = ("loved", "liked", "enjoyed", "admired")
        return self.rng.choice(
            likes if positive else ("hated", "disliked", "regretted", "despised")
        )


def _plain(w: _Words) -> str:
    return w.pick(
        f"{lexicon.with_article(w.bare(True))} {w.work} with {lexicon.with_article(w.bare(True))} {w.part}",
        f"the {w.part} is {w.agree()} and so is the {w.part2}",
        f"the whole {w.work} is {w.agree()}, from the {w.part} to the {w.part2}",
    )


def _contrast(w: _Words) -> str:
    return w.pick(
        f"although the {w.part} is {w.oppose()}, the {w.work} as a whole is {w.agree()}",
        f"the {w.work} as a whole is {w.agree()}, although the {w.part} is {w.oppose()}",
        f"the {w.part} is {w.oppose()} and the {w.part2} is {w.oppose()}, but the {w.work} as a whole is {w.agree()}",
        f"despite {lexicon.with_article(w.bare(False))} {w.part}, this is {lexicon.with_article(w.bare(True))} {w.work}",
        f"this is {lexicon.with_article(w.bare(True))} {w.work} despite its {w.oppose()} {w.part}",
    )


def _negation(w: _Words) -> str:
    return w.pick(
        f"the {w.work} is not {w.oppose()} and the {w.part} is never {w.oppose()}",
        f"this {w.work} is far from {w.bare(False)}",
        f"this {w.work} is anything but {w.bare(False)}, and so is its {w.part}",
        f"there is nothing {w.bare(False)} about the {w.part} of this {w.work}",
        f"the {w.part} is hardly {w.bare(False)} and the {w.work} is not {w.bare(False)} at all",
        f"not one scene of this {w.work} is {w.bare(False)}, not even the {w.part}",
    )


def _double_negation(w: _Words) -> str:
    return w.pick(
        f"nobody could say that this {w.work} is not {w.bare(True)}",
        f"it is not true that the {w.work} is {w.bare(False)}, and its {w.part} proves it",
        f"it would be wrong to call this {w.work} {w.bare(False)}",
        f"it would be wrong to say that the {w.part} is not {w.bare(True)}",
        f"never think that this {w.work} is not {w.bare(True)}",
        f"I cannot say that the {w.work} is {w.bare(False)} or that the {w.part} is {w.bare(False)}",
    )


def _comparison(w: _Words) -> str:
    better, worse = ("better", "worse") if w.positive else ("worse", "better")
    more, less = ("more", "less") if w.positive else ("less", "more")
    other = w.rng.choice([x for x in WORKS if x != w.work])
    return w.pick(
        f"this {w.work} is far {better} than the {other} that everyone found {w.bare(False)}"
        if w.rng.random() < 0.5
        else f"this {w.work} is even {better} than the {w.bare(True)} {other} before it",
        f"the {w.bare(False)} {other} before it was {worse} than this {w.work}",
        f"I was {more} pleased by this {w.work} than by any {w.bare(True)} {other}"
        if w.positive
        else f"I was {less} pleased by this {w.work} than by the most {w.bare(True)} {other}",
        f"the {other} was {w.oppose()}, this {w.work} is {better} in every way"
        if w.positive
        else f"the {other} was {w.agree()}, this {w.work} is {better} in every way",
    )


def _rescue(w: _Words) -> str:
    verb = w.pick("spoil", "ruin", "harm") if w.positive else w.pick("save", "rescue", "help")
    return w.pick(
        f"even {lexicon.with_article(w.bare(False))} {w.part} cannot {verb} this {w.bare(True)} {w.work}",
        f"{lexicon.with_article(w.bare(False))} {w.part} does not {verb} a {w.work} that is so {w.bare(True)}",
        f"no {w.part} could {verb} it, however {w.bare(False)}",
    )


def _hope(w: _Words) -> str:
    feared, hoped = ("feared", "hoped for")
    wish = feared if w.positive else hoped
    return w.pick(
        f"I {wish} {lexicon.with_article(w.bare(False))} {w.work} and got {lexicon.with_article(w.bare(True))} one",
        f"the {w.work} that I {wish} was {w.bare(False)}, the one that I saw was {w.bare(True)}",
        f"it starts {w.bare(False)}, then the {w.part} turns it into {lexicon.with_article(w.bare(True))} {w.work}",
        f"{w.name} promised me {lexicon.with_article(w.bare(False))} {w.work}, but it turned out {w.bare(True)}",
    )


def _witness(w: _Words) -> str:
    """Two people disagree and the writer sides with one of them."""
    says_agree = w.rng.random() < 0.5
    first, second = (w.bare(says_agree), w.bare(not says_agree))
    right = w.name if says_agree else w.name2
    wrong = w.name2 if says_agree else w.name
    end = w.pick(
        f"I am with {right}",
        f"{right} is right",
        f"{wrong} is wrong",
        f"I cannot follow {wrong}",
        f"{right} has the better taste",
    )
    return f"{w.name} called the {w.work} {first} and {w.name2} called it {second}, and {end}"


def _vote(w: _Words) -> str:
    """One person's verdict is confirmed or turned round by the writer."""
    says_agree = w.rng.random() < 0.5
    opinion = w.verb(w.positive == says_agree)
    end = (
        w.pick("I agree", "so did I", "I felt the same", "that is fair")
        if says_agree
        else w.pick("I disagree", "I did not", "I felt the opposite", "that is not fair")
    )
    return f"{w.name} {opinion} the {w.part} of the {w.work}, and {end}"


def _halves(w: _Words) -> str:
    """Only one half counts."""
    agree_first = w.rng.random() < 0.5
    first, second = w.bare(agree_first), w.bare(not agree_first)
    counts = "first" if agree_first else "second"
    return (
        f"the first half of the {w.work} is {first}, the second half is {second}, "
        f"and {w.pick('only the ' + counts + ' one counts', 'the ' + counts + ' one is what stays')}"
    )


_FRAMES: Final[tuple[tuple[Callable[[_Words], str], float], ...]] = (
    (_plain, 0.06),
    (_contrast, 0.16),
    (_negation, 0.12),
    (_double_negation, 0.12),
    (_comparison, 0.12),
    (_rescue, 0.08),
    (_hope, 0.10),
    (_witness, 0.10),
    (_vote, 0.07),
    (_halves, 0.07),
)
_MAKERS: Final = tuple(frame for frame, _ in _FRAMES)
_WEIGHTS: Final = tuple(weight for _, weight in _FRAMES)


def review(rng: Random, *, positive: bool) -> str:
    """Write a review with a verdict, one clause without capital and stop."""
    frame = rng.choices(_MAKERS, _WEIGHTS)[0]
    return frame(_Words(rng, positive))


def plain_review(rng: Random, *, positive: bool) -> str:
    """Write a review whose every word of praise or blame agrees with the verdict."""
    return _plain(_Words(rng, positive))
