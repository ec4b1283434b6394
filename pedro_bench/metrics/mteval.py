"""BLEU and NIST as NIST's script mteval-v13a computes them: over a corpus, case folded.

    BLEU = BP · exp(mean over n = 1..4 of log(matches_n / ngrams_n)),  BP = exp(min(0, 1 - r / c))
    NIST = LP · Σ over n = 1..5 of (Σ information of matched n-grams / ngrams_n)
    information(w1 … wn) = log2(count(w1 … wn-1) / count(w1 … wn)),  counted in the references
    LP = exp(β log²(min(1, c / r̄))),  β such that LP = 0.5 at c / r̄ = 2/3

A match counts at most as often as in the reference that holds it most; c is the length of the
output, r that of the reference nearest in length, r̄ the mean length of its references. BLEU and
the tokenisation are sacrebleu's, which follow the script to the letter; its smoothing (1/2, 1/4 …
matches where there is none) is the script's default.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from pedro_bench.metrics import versioned
from pedro_bench.metrics.classification import check_lengths

NIST_ORDER = 5
_BETA = math.log(0.5) / math.log(1.5) ** 2

Ngram = tuple[str, ...]


@versioned(1)
def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU in percent.

    Args:
        predictions: One text an example.
        references: For each example, its references; their number may differ between examples.

    Raises:
        DataError: If the two differ in length or are empty.
    """
    check_lengths(len(predictions), len(references))
    from sacrebleu.metrics import BLEU

    most = max(map(len, references))
    streams = [
        [given[column] if column < len(given) else None for given in references]
        for column in range(most)
    ]
    metric: Any = BLEU(lowercase=True, tokenize="13a", smooth_method="exp", force=True)
    return float(metric.corpus_score(list(predictions), streams).score)


@versioned(1)
def nist(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return NIST, 0 or above; it has no upper bound but that of the references.

    Args:
        predictions: One text an example.
        references: For each example, its references.

    Raises:
        DataError: If the two differ in length or are empty.
    """
    check_lengths(len(predictions), len(references))
    outputs = [tokens_13a(text) for text in predictions]
    wanted = [[tokens_13a(text) for text in given] for given in references]
    counts: Counter[Ngram] = Counter()
    for given in wanted:
        for tokens in given:
            counts.update(_ngrams(tokens))
    num_words = sum(len(tokens) for given in wanted for tokens in given)
    gained, total = [0.0] * NIST_ORDER, [0] * NIST_ORDER
    for tokens, given in zip(outputs, wanted, strict=True):
        most: Counter[Ngram] = Counter()
        for reference in given:
            most |= Counter(_ngrams(reference))
        for ngram, count in (Counter(_ngrams(tokens)) & most).items():
            before = counts[ngram[:-1]] if len(ngram) > 1 else num_words
            gained[len(ngram) - 1] += count * math.log2(before / counts[ngram])
        for order in range(NIST_ORDER):
            total[order] += max(0, len(tokens) - order)
    length = sum(sum(map(len, given)) / len(given) for given in wanted)
    terms = (gain / number for gain, number in zip(gained, total, strict=True) if number)
    return _length_penalty(total[0], length) * sum(terms)


def tokens_13a(text: str) -> list[str]:
    """Return the tokens of mteval-v13a, in lower case."""
    return str(_tokenizer()(text.strip())).lower().split()


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def _ngrams(tokens: Sequence[str]) -> Iterator[Ngram]:
    for order in range(1, NIST_ORDER + 1):
        for start in range(len(tokens) - order + 1):
            yield tuple(tokens[start : start + order])


def _length_penalty(length: int, wanted: float) -> float:
    if length >= wanted:
        return 1.0
    return math.exp(_BETA * math.log(length / wanted) ** 2) if length else 0.0
