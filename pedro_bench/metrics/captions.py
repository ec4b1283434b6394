"""ROUGE-L and CIDEr as the MS-COCO caption scripts compute them, BLEU and NIST as mteval-v13a: E2E's metrics.

    ROUGE-L = (1 + β²) P R / (R + β² P),  β = 1.2,  P and R the best over the references, each alone
    CIDEr   = 10 · mean over n = 1..4 and over the references of
              exp(-(c - r)² / 2σ²) · Σ min(v, w) w / (|v| |w|),  σ = 6

where v and w weigh each n-gram of output and reference with its count times log(examples /
examples whose references hold it), and c and r count bigrams (as the script does). Both are means
over the examples. The script splits texts with the Stanford PTB tokenizer, a Java program
(`caption_programs`). Where it is not there, `words` follows its rules for English as far as they concern such
texts: case folded, clitics and punctuation apart, hyphens and numbers kept together, and then the punctuation
that the script drops left out.

    BLEU = BP · exp(mean over n = 1..4 of log(matches_n / ngrams_n)),  BP = exp(min(0, 1 - r / c))
    NIST = LP · Σ over n = 1..5 of (Σ information of matched n-grams / ngrams_n)
    information(w1 … wn) = log2(count(w1 … wn-1) / count(w1 … wn)),  counted in the references
    LP = exp(β log²(min(1, c / r̄))),  β such that LP = 0.5 at c / r̄ = 2/3

over the corpus, case folded. A match counts at most as often as in the reference that holds it most; c is the
length of all outputs, r that of the references nearest in length (the shorter of two that are equally near),
and r̄ = examples · words of all references / number of all references. An order without a match counts
1/2 match, the next such order 1/4 and so on; one without n-grams counts as all matched. The
tokenisation is sacrebleu's, which follows the script to the letter.

All raise DataError where outputs and references differ in number or are none.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from pedro_bench.metrics import versioned
from pedro_bench.metrics.classification import check_lengths
from pedro_bench.metrics.question_answering import longest_common_subsequence

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
    """Return ROUGE-L in percent of texts and their references, both as words."""
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
    """Return CIDEr between 0 and 10 of texts and their references, both as words.

    With a single example every weight is log(1/1) = 0, so CIDEr is 0, as in the script.
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


BLEU_ORDER, NIST_ORDER = 4, 5
_BETA = math.log(0.5) / math.log(1.5) ** 2
_FOLDED = str.maketrans(ascii_uppercase, ascii_lowercase)

Texts = Sequence[Sequence[str]]


@versioned(2)
def bleu(predictions: Sequence[str], references: Texts) -> float:
    """Return BLEU in percent; the number of references may differ between examples."""
    outputs, wanted = _tokenised(predictions, references)
    matches, numbers = [0] * BLEU_ORDER, _numbers(outputs, BLEU_ORDER)
    length = 0
    for tokens, given in zip(outputs, wanted, strict=True):
        for ngram, count in _matched(tokens, given, BLEU_ORDER).items():
            matches[len(ngram) - 1] += count
        own = len(tokens)
        length += min(((abs(len(one) - own), len(one)) for one in given), default=(0, 0))[1]
    if not numbers[0]:
        return 0.0
    logs, smoothed = 0.0, 1.0
    for match, number in zip(matches, numbers, strict=True):
        if number and not match:
            smoothed /= 2
        logs += math.log((match or smoothed) / number) if number else 0.0
    return 100.0 * math.exp(min(0.0, 1 - length / numbers[0]) + logs / BLEU_ORDER)


@versioned(2)
def nist(predictions: Sequence[str], references: Texts) -> float:
    """Return NIST, 0 or above; it has no upper bound but that of the references."""
    outputs, wanted = _tokenised(predictions, references)
    counts: Counter[Ngram] = Counter()
    for given in wanted:
        for tokens in given:
            counts.update(_ngrams(tokens, NIST_ORDER))
    num_words = sum(len(tokens) for given in wanted for tokens in given)
    # The script takes a first word "0" alone for no word.
    before = {**counts, (): num_words, ("0",): num_words}
    gained, numbers = [0.0] * NIST_ORDER, _numbers(outputs, NIST_ORDER)
    for tokens, given in zip(outputs, wanted, strict=True):
        for ngram, count in _matched(tokens, given, NIST_ORDER).items():
            gained[len(ngram) - 1] += count * math.log2(before[ngram[:-1]] / counts[ngram])
    length = len(wanted) * num_words / max(1, sum(map(len, wanted)))
    terms = (gain / number for gain, number in zip(gained, numbers, strict=True) if number)
    return _length_penalty(numbers[0], length) * sum(terms)


def tokens_13a(text: str) -> list[str]:
    """Return the tokens of mteval-v13a; its lower case is that of A to Z alone."""
    return str(_tokenizer()(" ".join(text.split()))).translate(_FOLDED).split()


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def _tokenised(
    predictions: Sequence[str], references: Texts
) -> tuple[list[list[str]], list[list[list[str]]]]:
    check_lengths(len(predictions), len(references))
    wanted = [[tokens for text in given if (tokens := tokens_13a(text))] for given in references]
    return [tokens_13a(text) for text in predictions], wanted


def _ngrams(tokens: Sequence[str], most: int) -> Iterator[Ngram]:
    for order in range(1, most + 1):
        for start in range(len(tokens) - order + 1):
            yield tuple(tokens[start : start + order])


def _numbers(outputs: Sequence[Sequence[str]], most: int) -> list[int]:
    """Return how many n-grams of each order the outputs have."""
    return [sum(max(0, len(tokens) - order) for tokens in outputs) for order in range(most)]


def _matched(
    tokens: Sequence[str], references: Iterable[Sequence[str]], most: int
) -> Counter[Ngram]:
    """Return the n-grams of an output, each as often as the reference that holds it most."""
    held: Counter[Ngram] = Counter()
    for reference in references:
        held |= Counter(_ngrams(reference, most))
    return Counter(_ngrams(tokens, most)) & held


def _length_penalty(length: int, wanted: float) -> float:
    if length >= wanted:
        return 1.0
    return math.exp(_BETA * math.log(length / wanted) ** 2) if length else 0.0
