"""METEOR (exact, stem): METEOR 1.5 without its word lists, where its Java program is not there.

    F = P R / (α P + (1 - α) R),  METEOR = F · (1 - γ (chunks / matches)^β)
    P = weighted matches / words of the output,  R = weighted matches / words of the reference

with METEOR 1.5's parameters for English (α 0.85, β 0.2, γ 0.6) and its weights of a match: exact
1, equal stems (Snowball's English stemmer) 0.6. Words are matched one to one: as much weight as
possible, then as few chunks (runs that are contiguous on both sides); an output that equals its
reference has no chunk. Statistics of the best reference of each example are summed over the corpus,
as METEOR does.

What METEOR 1.5 has beyond this needs word lists that come with its Java program: matches by WordNet
synonyms (0.8) and by its paraphrase table (0.6), and function words weighing less than others
(δ 0.75; here all weigh alike). So the value is some two points below that of METEOR 1.5. It has a
name of its own in records and is never compared with a published figure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from pedro_bench.metrics import versioned
from pedro_bench.metrics.captions import Words
from pedro_bench.metrics.classification import check_lengths

ALPHA, BETA, GAMMA = 0.85, 0.2, 0.6
STEM_WEIGHT = 0.6
BEAM = 40
"""Alignments kept at each word of the output, as in METEOR."""


@dataclass(frozen=True)
class Statistics:
    """What METEOR adds up over a corpus.

    Attributes:
        exact: Words matched exactly.
        stem: Words matched by their stem only.
        chunks: Contiguous runs of matches; 0 where output and reference are equal.
        given: Words of the outputs.
        wanted: Words of the references.
    """

    exact: int = 0
    stem: int = 0
    chunks: int = 0
    given: int = 0
    wanted: int = 0

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.exact + other.exact,
            self.stem + other.stem,
            self.chunks + other.chunks,
            self.given + other.given,
            self.wanted + other.wanted,
        )

    @property
    def score(self) -> float:
        """METEOR between 0 and 1."""
        weight = self.exact + STEM_WEIGHT * self.stem
        if not weight:
            return 0.0
        precision, recall = weight / self.given, weight / self.wanted
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragments = self.chunks / (self.exact + self.stem)
        return float(mean * (1 - GAMMA * fragments**BETA))


@versioned(1)
def meteor_exact_stem(outputs: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Return METEOR (exact, stem) in percent of texts and their references, both as words."""
    check_lengths(len(outputs), len(references))
    total = Statistics()
    for given, wanted in zip(outputs, references, strict=True):
        total += max((align(given, one) for one in wanted), key=lambda one: one.score)
    return 100.0 * total.score


class _Partial(NamedTuple):
    """An alignment of the first words of the output; the smaller, the better."""

    lost: float = 0.0
    """Weight of the matches, negated."""
    chunks: int = 0
    exact: int = 0
    stem: int = 0
    used: int = 0
    """Places of the reference that are taken, as bits."""
    last: int = -2
    """Place in the reference of the last output word, -2 where that has no match."""


def align(given: Sequence[str], wanted: Sequence[str]) -> Statistics:
    """Match the words of an output and a reference one to one, best weight first, then chunks."""
    if list(given) == list(wanted):
        return Statistics(len(given), 0, 0, len(given), len(wanted))
    stems = [_stem(word) for word in given]
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(wanted):
        places[_stem(word)].append(place)
    numbers = Counter(stems)
    beam = [_Partial()]
    for word, stem in zip(given, stems, strict=True):
        free = places.get(stem, [])
        # Where the reference has a place for every word of this stem, the best weight matches all.
        may_stay_free = numbers[stem] > len(free)
        grown: dict[tuple[int, int], _Partial] = {}
        for partial in beam:
            for one in _continued(partial, word, wanted, free, may_stay_free):
                key = (one.used, one.last)
                if key not in grown or one < grown[key]:
                    grown[key] = one
        beam = sorted(grown.values())[:BEAM]
    best = beam[0]
    return Statistics(best.exact, best.stem, best.chunks, len(given), len(wanted))


def _continued(
    partial: _Partial, word: str, wanted: Sequence[str], places: Sequence[int], may_stay_free: bool
) -> Iterator[_Partial]:
    """Yield the alignment with each match of the next word that is free, and perhaps with none."""
    lost, chunks, exact, stem, used, last = partial
    if may_stay_free:
        yield _Partial(lost, chunks, exact, stem, used, -2)
    for place in places:
        if not used >> place & 1:
            same = wanted[place] == word
            yield _Partial(
                lost - (1.0 if same else 0.5),
                chunks + (place != last + 1),
                exact + same,
                stem + (not same),
                used | 1 << place,
                place,
            )


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
