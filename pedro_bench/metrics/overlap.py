"""ROUGE-L: how long a common subsequence of words two texts share.

    P = LCS / words of the prediction,  R = LCS / words of the gold,  F = 2 P R / (P + R)

as in Lin (2004) with equal weight on both; words are runs of letters and digits, in lower case,
without stemming.
"""

import re
from collections.abc import Sequence

from pedro_bench.metrics import versioned

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
