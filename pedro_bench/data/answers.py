"""Taking an answer out of generated text, without guessing."""

import string
from collections.abc import Sequence


def first_line(text: str) -> str:
    """Return the first line that holds anything, without white space around it."""
    return text.strip().split("\n", 1)[0].strip()


def fold(text: str) -> str:
    """Return a text as closed answers are compared: case and white space folded, ends bare.

    Bare means without punctuation or white space at the two ends; within the text both stay.
    """
    return " ".join(text.casefold().split()).strip(string.punctuation + string.whitespace)


def match_candidate(text: str, candidates: Sequence[str]) -> str:
    """Return the candidate that the first line is, else the line itself (an invalid answer)."""
    line = first_line(text)
    folded = fold(line)
    return next((known for known in candidates if fold(known) == folded), line)
