"""ROUGE-L and CIDEr as the MS-COCO caption scripts compute them, which the E2E challenge uses.

    ROUGE-L = (1 + β²) P R / (R + β² P),  β = 1.2,  P and R the best over the references, each alone
    CIDEr   = 10 · mean over n = 1..4 and over the references of
              exp(-(c - r)² / 2σ²) · Σ min(v, w) w / (|v| |w|),  σ = 6

where v and w weigh each n-gram of output and reference with its count times log(examples /
examples whose references hold it), and c and r count bigrams (as the script does). Both are means
over the examples.

The script splits texts with the Stanford PTB tokenizer, a Java program (`caption_programs`). Where it
is not there, `words` follows its rules for English as far as they concern such texts: case folded,
clitics and punctuation apart, hyphens and numbers kept together, and then the punctuation that the
script drops left out.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from pedro_bench.metrics import versioned
from pedro_bench.metrics.classification import check_lengths
from pedro_bench.metrics.overlap import longest_common_subsequence

BETA = 1.2
ORDER = 4
SIGMA = 6.0

_DROPPED = frozenset([*"'`.?!,:-;\"‘“”…–—", "''", "``", "--", "..."])
_WRITTEN = str.maketrans("’£€", "'#$")
_TOKEN = re.compile(
    r"""
    (?:(?<!\w)-)?(?:\d+(?:/\d+)+|\d*(?:[.,:]\d+)+|\d+)(?:-\w+)*(?:(?![^\W_])|(?=[ap]m\b))
                                            # numbers, dates, 4-star, -25; 7 in 7pm
    | (?:[^\W\d_]\.){2,}                    # u.s.
    | (?<![^\W_])(?:st|mr|mrs|ms|dr|jr|co|etc|vs|ltd|inc|[^\W\d_])\.(?![^\W_])
    | (?<![^\W_])[dlo]'[^\W\d_]{3,}         # d'oeuvre
    | (?:[^\W_]+?(?=n't\b)|can(?=not\b)|gon(?=na\b)|wan(?=na\b))  # do in don't
    | n't\b
    | '(?:s|m|d|ll|re|ve)\b                 # clitics
    | [^\W_]+(?:[-&/][^\W_]+)*(?:\.(?=[,;:]))?  # words, with hyphens within
    | \.\.\.|--|``|\'\'
    | [^\s]                                 # any other sign alone
    """,
    re.VERBOSE,
)

Ngram = tuple[str, ...]
Words = Sequence[str]


def words(text: str) -> list[str]:
    """Return the words of a text as the script compares them."""
    folded = text.lower().translate(_WRITTEN)
    return [token for token in _TOKEN.findall(folded) if token not in _DROPPED]


@versioned(2)
def caption_rouge_l(outputs: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Return ROUGE-L in percent.

    Args:
        outputs: The words of one text an example.
        references: For each example, the words of its references.

    Raises:
        DataError: If the two differ in length or are empty.
    """
    check_lengths(len(outputs), len(references))
    total = math.fsum(map(_rouge_l, outputs, references))
    return 100.0 * total / len(outputs)


def _rouge_l(given: Words, references: Sequence[Words]) -> float:
    shared = [longest_common_subsequence(given, wanted) for wanted in references]
    precision = max(shared) / max(1, len(given))
    recall = max(
        length / max(1, len(wanted)) for length, wanted in zip(shared, references, strict=True)
    )
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


@versioned(2)
def cider(outputs: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Return CIDEr between 0 and 10.

    With a single example every weight is log(1/1) = 0, so CIDEr is 0, as in the script.

    Args:
        outputs: The words of one text an example.
        references: For each example, the words of its references.

    Raises:
        DataError: If the two differ in length or are empty.
    """
    check_lengths(len(outputs), len(references))
    wanted = [list(map(_counts, given)) for given in references]
    held: Counter[Ngram] = Counter()
    for given in wanted:
        held.update({ngram for counts in given for ngram in counts})
    weigh = _Weights(held, len(wanted))
    scores = []
    for output, given in zip(outputs, wanted, strict=True):
        vector = weigh(_counts(output))
        total = math.fsum(_similarity(vector, weigh(reference)) for reference in given)
        scores.append(10.0 * total / len(given))
    return math.fsum(scores) / len(scores)


def _counts(words: Words) -> Counter[Ngram]:
    tokens = " ".join(words).split()  # as the script: a word such as "2 1/2" becomes two
    return Counter(
        tuple(tokens[start : start + order])
        for order in range(1, ORDER + 1)
        for start in range(len(tokens) - order + 1)
    )


class _Weights:
    """Turns counts into weighted vectors, one for each order, with the number of bigrams."""

    def __init__(self, held: Counter[Ngram], num_examples: int) -> None:
        self.held = held
        self.most = math.log(num_examples)

    def __call__(self, counts: Counter[Ngram]) -> tuple[list[dict[Ngram, float]], int]:
        vectors: list[dict[Ngram, float]] = [{} for _ in range(ORDER)]
        for ngram, count in counts.items():
            weight = count * (self.most - math.log(max(1, self.held[ngram])))
            vectors[len(ngram) - 1][ngram] = weight
        return vectors, sum(count for ngram, count in counts.items() if len(ngram) == 2)


def _similarity(
    output: tuple[list[dict[Ngram, float]], int], reference: tuple[list[dict[Ngram, float]], int]
) -> float:
    """Return the mean over orders of the clipped, length-penalised cosine."""
    penalty = math.exp(-((output[1] - reference[1]) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for given, wanted in zip(output[0], reference[0], strict=True):
        norms = math.hypot(*given.values()) * math.hypot(*wanted.values())
        shared = math.fsum(
            min(weight, wanted[ngram]) * wanted[ngram]
            for ngram, weight in given.items()
            if ngram in wanted
        )
        total += penalty * shared / norms if norms else 0.0
    return total / ORDER
