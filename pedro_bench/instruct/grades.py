"""How the grade is read from a judgement: strictly, and as FastChat reads it.

The strict reading takes a number from 1 to 10 in double square brackets (`[[8]]`, `[[ 8.5 ]]`,
`[[8/10]]`). Where a judgement holds several different numbers, the last one labelled as the grade counts
(`Grade: [[8]]`), else the one that stands alone on the last line, else none: such a judgement is asked for
again. The upper end of the scale (`[[8]] out of [[10]]`) is no grade, and a grade on another scale
(`[[4/5]]`) is none either.
"""

import re
from dataclasses import dataclass
from math import isfinite

LOWEST, HIGHEST = 1.0, 10.0

_LABEL = "(?:grade|rating|score)"
_NUMBER = r"[0-9]+(?:\.[0-9]*)?"
_BRACKETS = re.compile(r"\[\[([^\[\]]*)\]\]")
_CONTENT = re.compile(
    rf"\s*(?:{_LABEL}\s*[:=]?\s*)?(-?{_NUMBER})\s*(?:(?:/|out\s+of)\s*({_NUMBER})\s*)?",
    re.IGNORECASE,
)
_LABELLED = re.compile(rf"\b{_LABEL}(?:\s+is)?[^\w\[\]]*\Z", re.IGNORECASE)
_IS_SCALE = re.compile(
    r"[\s(*_]*(?:/|(?:out\s+)?of)(?:\s+a)?(?:\s+(?:possible|maximum|total)(?:\s+of)?)?[\s*_]*",
    re.IGNORECASE,
)
_SCALE_AFTER = re.compile(rf"[\s(*_]*(?:/|out\s+of)\s*({_NUMBER})", re.IGNORECASE)

_FASTCHAT = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))


@dataclass
class _Rating:
    """One number in double brackets; `value` is None where it is no grade on the scale to 10."""

    value: float | None
    is_labelled: bool
    is_alone: bool


def grade_of(text: str) -> float | None:
    """Return the grade of a judgement, from 1 to 10, or None where it gives none or no single one."""
    ratings = _ratings(text)
    chosen = [one for one in ratings if one.is_labelled] or ratings
    if not chosen:
        return None
    last = chosen[-1]
    is_clear = last.is_labelled or last.is_alone or len({one.value for one in chosen}) == 1
    if not is_clear or last.value is None:
        return None
    return last.value if LOWEST <= last.value <= HIGHEST else None


def fastchat_grade(text: str) -> float | None:
    """Return the grade that FastChat reads (`llm_judge/common.py`), or None where it reads none.

    It takes the first number in double brackets, else the first in single ones, whatever its size.
    """
    for pattern in _FASTCHAT:
        if found := pattern.search(text):
            grade = float(found[1])
            return grade if isfinite(grade) else None
    return None


def _ratings(text: str) -> list[_Rating]:
    """Return the numbers in double brackets in their order, without the ends of scales."""
    found: list[_Rating] = []
    before = 0
    for match in _BRACKETS.finditer(text):
        between = text[before : match.start()]
        before = match.end()
        content = _CONTENT.fullmatch(match[1])
        if found and _IS_SCALE.fullmatch(between):
            if content is None or float(content[1]) != HIGHEST:
                found[-1].value = None
            continue
        is_labelled = _LABELLED.search(between) is not None
        if content is None and not is_labelled and not re.search("[0-9]", match[1]):
            continue  # words in brackets
        after = _SCALE_AFTER.match(text, match.end())
        scales = [one for one in (content and content[2], after and after[1]) if one]
        is_to_ten = all(float(scale) == HIGHEST for scale in scales)
        value = float(content[1]) if content and is_to_ten else None
        found.append(_Rating(value, is_labelled, _is_alone(text, match)))
    return found


def _is_alone(text: str, match: re.Match[str]) -> bool:
    """Return whether brackets stand alone on the last line that says anything."""
    line = text[: match.start()].rpartition("\n")[2]
    return not re.search(r"[\w\[\]]", line + text[match.end() :])
