"""Checks that configuration dataclasses run on themselves; each names the full key as typed."""

import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from pedro_bench.errors import ConfigError, PedroBenchError, near_match

NEUTRAL = "neutral"
"""Key of a field's metadata: the value that stands for how things were before the field was there."""


def later(default: Any, *, neutral: Any) -> Any:
    """Return a dataclass field that came after the first records of its class.

    Args:
        default: The value where none is given.
        neutral: The value that does what was done before the field was there. With it a run has the key
            that it had before, so adding a setting leaves every record valid.
    """
    return field(default=default, metadata={NEUTRAL: neutral})


def integer(key: str, value: Any, *, least: int = 1, optional: bool = False) -> None:
    """Require a whole number of at least `least` (`optional`: or null).

    Raises:
        ConfigError: If `value` is not such a number; booleans do not count as numbers.
    """
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        alternative = " or null" if optional else ""
        raise ConfigError(
            f"{key} must be a whole number of at least {least}{alternative}, got {value!r}."
        )


def number(
    key: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
    optional: bool = False,
) -> None:
    """Require a finite number within the stated bounds (`optional`: or null).

    Raises:
        ConfigError: If `value` is not such a number.
    """
    if optional and value is None:
        return
    words = (("above", above), ("at least", least), ("at most", most), ("below", below))
    bounds = [f"{word} {bound:g}" for word, bound in words if bound is not None]
    rule = " ".join(["a number", " and ".join(bounds)]).strip()
    fits = (
        not isinstance(value, bool)
        and isinstance(value, int | float)
        and abs(value) < float("inf")
        and (above is None or value > above)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not fits:
        raise ConfigError(f"{key} must be {rule}{' or null' if optional else ''}, got {value!r}.")


def choice(key: str, value: Any, known: Collection[str]) -> None:
    """Require one of the known words.

    Raises:
        ConfigError: If `value` is none of them; the message has the near match.
    """
    if value not in known:
        raise ConfigError(
            f"{key} must be one of the known words, got {value!r}.{near_match(str(value), known)}"
        )


def flag(key: str, value: Any) -> None:
    """Require true or false.

    Raises:
        ConfigError: If `value` is not a boolean.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false, got {value!r}.")


def text(key: str, value: Any, *, optional: bool = False) -> None:
    """Require a text that is not empty (`optional`: or null).

    Raises:
        ConfigError: If `value` is not such a text.
    """
    if optional and value is None:
        return
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"{key} must be a text{' or null' if optional else ''}, not empty, got {value!r}"
            f"{quoting(key, value)}."
        )
    encodable_text(key, value)


MARKS = ("\ufdd0", "\ufdd1")
"""Around the number of a control token in a prompt's text: code points that no text may hold."""


def encodable_text(
    key: str, value: str, error: Callable[[str], PedroBenchError] = ConfigError
) -> None:
    """Require a text that tokenizers can take: neither lone surrogates nor the package's own marks.

    Files in UTF-8 cannot hold the former; U+FDD0 and U+FDD1, which Unicode keeps for programs' own use, stand
    for control tokens (`data.text_tokens`).

    Args:
        key: What the text is, as messages name it.
        value: The text.
        error: What to raise.

    Raises:
        PedroBenchError: `error`, if one half of a surrogate pair stands in it alone, or a mark.
    """
    try:
        value.encode()
    except UnicodeEncodeError as found:
        raise error(
            f"{key} must be text that UTF-8 can encode, got the lone surrogate "
            f"{value[found.start]!r} at character {found.start + 1}: write both halves of the pair, "
            "or leave the character out."
        ) from None
    if marks := [mark for mark in MARKS if mark in value]:
        raise error(
            f"{key} must be text without U+FDD0 and U+FDD1, which stand for control tokens, got "
            f"{marks[0]!r} at character {value.index(marks[0]) + 1}: leave it out."
        )


def quoting(key: str, value: Any) -> str:
    """Return how to type a text that was read as a number or a boolean; nothing for other values."""
    if not isinstance(value, int | float):
        return ""
    typed = str(value).lower() if isinstance(value, bool) else value
    return f": quote a text, as in '{key}=\"{typed}\"'"


def path(key: str, value: Any) -> str:
    """Require a path and return it with the home folder for `~`.

    Raises:
        ConfigError: If it is no text or path, is empty, or begins with a `~` that names no user.
    """
    given = str(value) if isinstance(value, Path) else value
    text(key, given)
    if not given.startswith("~"):
        return str(given)
    try:
        return str(Path(given).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"{key} must be a path, got {given!r}, the home of an unknown user: write the whole path."
        ) from error


def texts(key: str, value: Any) -> list[str]:
    """Require texts in an order, such as a list, a tuple or a generator, and return them as a list.

    Raises:
        ConfigError: If it is a single text, has no order, or holds something else.
    """
    found = items(key, value, "texts")
    for number, item in enumerate(found):
        if not isinstance(item, str):
            raise ConfigError(f"{key}[{number}] must be a text, got {reprlib.repr(item)}.")
    return found


def pairs(key: str, value: Any, names: tuple[str, str]) -> list[tuple[str, str]]:
    """Require pairs of texts in an order and return them as a list of tuples.

    Args:
        key: What they are, for messages.
        value: The pairs.
        names: What the two texts of a pair are.

    Raises:
        ConfigError: If it is anything else; a text of two letters is no pair.
    """
    found = items(key, value, "pairs")
    rule = f"must be a pair of texts ({', '.join(names)})"
    for number, item in enumerate(found):
        is_pair = isinstance(item, list | tuple) and len(item) == 2
        if not is_pair or not all(isinstance(one, str) for one in item):
            raise ConfigError(f"{key}[{number}] {rule}, got {reprlib.repr(item)}.")
    return [(first, second) for first, second in found]


def items(key: str, value: Any, kind: str) -> list[Any]:
    """Require something in an order, such as a list, a tuple or a generator, and return it as a list.

    Args:
        key: What it is, for messages.
        value: What was given.
        kind: What the items are, such as `texts`.

    Raises:
        ConfigError: If it is a single text, a mapping, a set, or no collection.
    """
    has_order = isinstance(value, Iterable) and not isinstance(
        value, str | bytes | Mapping | set | frozenset
    )
    if not has_order:
        remedy = ": put it into a list" if isinstance(value, str) and kind == "texts" else ""
        raise ConfigError(f"{key} must be a list of {kind}, got {reprlib.repr(value)}{remedy}.")
    return list(value)


def roles(key: str, value: Any, known: Collection[str]) -> tuple[str, ...]:
    """Require a list of distinct known roles, at least one, and return it as a tuple.

    Raises:
        ConfigError: If a role is unknown (with the near match), stands twice, or there is none.
    """
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        choice(key, name, known)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"{key} must list distinct roles, at least one, got {list(names)!r}.")
    return names
