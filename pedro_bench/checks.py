"""Checks that configuration dataclasses run on themselves; each names the full key as typed."""

from collections.abc import Callable, Collection
from dataclasses import field
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
            f"{key} must be a text{' or null' if optional else ''}, not empty, got {value!r}."
        )
    encodable_text(key, value)


def encodable_text(
    key: str, value: str, error: Callable[[str], PedroBenchError] = ConfigError
) -> None:
    """Require a text without lone surrogates, which neither tokenizers nor files in UTF-8 can take.

    Args:
        key: What the text is, as messages name it.
        value: The text.
        error: What to raise.

    Raises:
        PedroBenchError: `error`, if one half of a surrogate pair stands in it alone.
    """
    try:
        value.encode()
    except UnicodeEncodeError as found:
        raise error(
            f"{key} must be text that UTF-8 can encode, got the lone surrogate "
            f"{value[found.start]!r} at character {found.start + 1}: write both halves of the pair, "
            "or leave the character out."
        ) from None


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
