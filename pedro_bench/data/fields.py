"""Fields of a raw row, read under the names and in the shapes that official releases use."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.protocols.task import Row

Aliases = Mapping[str, Sequence[str]]
"""Field -> other names of it in other releases of the same data set."""

MAX_CHARACTERS = 200_000
"""Longest text of a field; the longest official one has a tenth of it, so more is a broken file."""


def plain_lists(key: str, mapping: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return a setting that maps names to lists of names as plain dictionary and tuples.

    Raises:
        ConfigError: If it is anything else.
    """
    given: Any = mapping
    if not isinstance(given, Mapping) or any(
        isinstance(names, str) or not isinstance(names, Sequence) for names in given.values()
    ):
        raise ConfigError(f"{key} must map each field to a list of names, got {mapping!r}.")
    return {str(name): tuple(map(str, names)) for name, names in given.items()}


def value_of(row: Row, field: str, aliases: Aliases) -> Any:
    """Return a field's value under its own name or one of its aliases.

    Raises:
        DataError: If the row has the field under none of these names.
    """
    for name in (field, *aliases.get(field, ())):
        if name in row and row[name] is not None:
            return row[name]
    if field in row:
        raise DataError(f"field {field!r} must have a value, got null.")
    raise DataError(f"field {field!r} must be in every row, got none.{near_match(field, row)}")


def text_of(row: Row, field: str, aliases: Aliases, *, may_be_empty: bool = False) -> str:
    """Return a field's text without white space around it.

    Raises:
        DataError: If the field is absent, not a text, too long, or empty where it may not be.
    """
    value = value_of(row, field, aliases)
    if not isinstance(value, str):
        raise DataError(f"field {field!r} must be a text, got {shown(value)}.")
    text = value.strip()
    if not text and not may_be_empty:
        raise DataError(f"field {field!r} must not be empty, got {shown(value)}.")
    return _checked_length(field, text)


def texts_of(row: Row, field: str, aliases: Aliases) -> tuple[str, ...]:
    """Return a field that holds several texts, in order, each once.

    Understood are a list of texts, a list of `{"text": …}`, an object whose `text` is a list (the
    Hub's SQuAD), and each of these written out as one text (as in tables without nesting).

    Raises:
        DataError: If the field is absent, holds something else, or no text at all.
    """
    value = value_of(row, field, aliases)
    found = _parsed(value) if isinstance(value, str) else value
    if isinstance(found, Mapping):
        found = found.get("text")
    items = list(found) if isinstance(found, list | tuple) else [None]
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in items]
    words = [text.strip() for text in texts if isinstance(text, str)]
    if len(words) < len(texts):
        raise DataError(f"field {field!r} must be a list of texts, got {shown(value)}.")
    kept = tuple(dict.fromkeys(text for text in words if text))
    if not kept:
        raise DataError(f"field {field!r} must hold at least one text, got {shown(value)}.")
    for text in kept:
        _checked_length(field, text)
    return kept


def shown(value: Any) -> str:
    """Return a value as messages show it: at most 80 characters of its `repr`."""
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _checked_length(field: str, text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise DataError(
            f"field {field!r} must have at most {MAX_CHARACTERS:,} characters, got {len(text):,} "
            f"that begin {text[:40]!r}: a line feed or quotation mark may be missing in the file."
        )
    return text


def _parsed(text: str) -> Any:
    """Read a list or object written out as text; other texts give None."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None
