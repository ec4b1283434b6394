"""BLEU and NIST as NIST's script mteval-v13a computes them: over a corpus, case folded.

    BLEU = BP · exp(mean over n = 1..4 of log(matches_n / ngrams_n)),  BP = exp(min(0, 1 - r / c))
    NIST = LP · Σ over n = 1..5 of (Σ information of matched n-grams / ngrams_n)
    information(w1 … wn) = log2(count(w1 … wn-1) / count(w1 … wn)),  counted in the references
    LP = exp(β log²(min(1, c / r̄))),  β such that LP = 0.5 at c / r̄ = 2/3

A match counts at most as often as in the reference that holds it most; c is the length of all
outputs, r that of the references nearest in length (the shorter of two that are equally near), and
r̄ = examples · words of all references / number of all references. An order without a match counts
1/2 match, the next such order 1/4 and so on; one without n-grams counts as all matched. The
tokenisation is sacrebleu's, which follows the script to the letter.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from pedro_bench.metrics import versioned
from pedro_bench.metrics.classification import check_lengths

BLEU_ORDER, NIST_ORDER = 4, 5
_BETA = math.log(0.5) / math.log(1.5) ** 2
_FOLDED = str.maketrans(ascii_uppercase, ascii_lowercase)

Ngram = tuple[str, ...]
Texts = Sequence[Sequence[str]]


@versioned(2)
def bleu(predictions: Sequence[str], references: Texts) -> float:
    """Return BLEU in percent.

    Args:
        predictions: One text an example.
        references: For each example, its references; their number may differ between examples.

    Raises:
        DataError: If the two differ in length or are empty.
    """
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
    """Return NIST, 0 or above; it has no upper bound but that of the references.

    Args:
        predictions: One text an example.
        references: For each example, its references.

    Raises:
        DataError: If the two differ in length or are empty.
    """
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
