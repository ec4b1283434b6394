"""Exact match and token F1 with the normalisation of SQuAD v1.1 and ReCoRD, and ROUGE-L.

Normalised are: case, ASCII punctuation (dropped), the articles a, an, the (dropped as words), and
white space. An answer counts with the best value over all gold answers.

    ROUGE-L:  P = LCS / words of the prediction,  R = LCS / words of the gold,  F = 2 P R / (P + R)

as in Lin (2004) with equal weight on both; words are runs of letters and digits, in lower case, without
stemming.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from pedro_bench.metrics import versioned
from pedro_bench.metrics.classification import check_lengths

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return the text as answers are compared: lower case, no punctuation, no articles."""
    bare = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


@versioned(1)
def exact_match(prediction: str, gold: str) -> float:
    """Return 1 if both answers are equal once normalised, else 0."""
    return float(normalise(prediction) == normalise(gold))


def token_f1(prediction: str, gold: str) -> float:
    """Return the harmonic mean of precision and recall over words, between 0 and 1.

    An answer that shares no word with the gold answer gets 0, also when both are empty.
    """
    given, wanted = normalise(prediction).split(), normalise(gold).split()
    shared = sum((Counter(given) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


@versioned(1)
def f1_em(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score answers in percent, each with its best gold answer: `f1`, `em`, and their mean `f1_em`."""
    f1 = best_over_golds(token_f1, predictions, golds)
    em = best_over_golds(exact_match, predictions, golds)
    return {"f1_em": (f1 + em) / 2, "f1": f1, "em": em}


def best_over_golds(
    measure: Callable[[str, str], float], predictions: Sequence[str], golds: Sequence[Sequence[str]]
) -> float:
    """Return the mean over examples of the best value over each example's golds, in percent."""
    check_lengths(len(predictions), len(golds))
    pairs = zip(predictions, golds, strict=True)
    total = sum(max(measure(given, gold) for gold in allowed) for given, allowed in pairs)
    return 100.0 * total / len(predictions)


_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest sequence of words that stands in both, in order."""
    lengths = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = lengths[column]
            lengths[column] = diagonal + 1 if word == other else max(above, lengths[column - 1])
            diagonal = above
    return lengths[-1]


@versioned(1)
def rouge_l(prediction: str, gold: str) -> float:
    """Return ROUGE-L's F between 0 and 1; two texts without a word are equal and get 1."""
    given, wanted = words(prediction), words(gold)
    if not given or not wanted:
        return float(given == wanted)
    shared = longest_common_subsequence(given, wanted)
    return 2 * shared / (len(given) + len(wanted))
