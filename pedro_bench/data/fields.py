"""Fields of a raw row, read under the names and in the shapes that official releases use.

Lists and objects may be written out as text: as JSON, as Python prints them, and as NumPy does. `pandas`
and `datasets` write a list into a CSV as NumPy prints it: `['a' 'b']`, with white space instead of commas,
over several lines where it is long, and as `array(['a', 'b'], dtype=object)` within an object.
"""

import ast
import difflib
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pedro_bench import checks
from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.protocols.task import Row

_NO_TEXTS = ("nan", "inf", "null", "true", "false")
_CALLS = re.compile(r"list|tuple|(?:np\.|numpy\.)?(?:array|str_|bool_?|u?int\d+|float\d+)")
_VALUES = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)


def read_printed(text: str) -> Any:
    """Return the list, object or value that a text writes out; numbers and names come as None or float.

    Raises:
        ValueError: If it is no such text, or values were left out when it was written; the message is
            the reason, or empty.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _value(ast.parse(_with_commas(text.strip()), mode="eval").body)
    except (SyntaxError, tokenize.TokenError, OverflowError, RecursionError, MemoryError):
        raise ValueError from None


def _with_commas(text: str) -> str:
    """Return Python's tokens of a text, with commas between items of lists that white space parts."""
    found: list[str] = []
    lists: list[tuple[str, set[str]]] = []  # opening mark, and what parts the items so far
    before: tokenize.TokenInfo | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        mark = token.string
        if not mark.strip():
            continue
        if token.type == tokenize.ERRORTOKEN:
            raise ValueError
        if mark == "...":
            raise ValueError("values are left out at '...', as NumPy prints long lists")
        parting = "," if mark == "," else " " if before and _are_two(before, token) else ""
        if parting:
            if not lists or (parting == " " and lists[-1][0] != "["):
                raise ValueError
            lists[-1][1].add(parting)
            if len(lists[-1][1]) > 1:
                raise ValueError("some items have a comma between them and some have none")
        found += [",", mark] if parting == " " else [mark]
        if mark in "[({":
            lists.append((mark, set()))
        elif mark in "])}" and lists:
            lists.pop()
        before = token
    return " ".join(found)


def _are_two(one: tokenize.TokenInfo, next_one: tokenize.TokenInfo) -> bool:
    """Whether the first token ends a value, and the second begins another behind white space."""
    after = next_one.line[next_one.end[1] : next_one.end[1] + 1]
    begins = next_one.type in _VALUES or next_one.string in "[({"
    begins |= next_one.string in "+-" and not after.isspace()
    if not begins or (one.type not in _VALUES and one.string not in "])}"):
        return False
    if one.end == next_one.start and next_one.type == tokenize.STRING:
        raise ValueError
    return one.end != next_one.start


def _value(node: ast.expr) -> Any:
    """Return what a literal holds, and what is in a call such as `array([…], dtype=object)`."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Constant(value=bool() | None):
            return None
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float())):
            return float(ast.literal_eval(node))
        case ast.Name(id=name) if name in _NO_TEXTS:
            return None
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            names = [key.value for key in keys if isinstance(key, ast.Constant)]
            if len(names) == len(keys) and all(isinstance(name, str) for name in names):
                return dict(zip(names, map(_value, values), strict=True))
        case ast.Call(func=function, args=[held]) if _CALLS.fullmatch(ast.unparse(function)):
            return _value(held)
    raise ValueError


Aliases = Mapping[str, Sequence[str]]
"""Field -> other names of it in other releases of the same data set."""

_WHOLE = re.compile(r"(?<=\d)\.0*$")
_AS_INPUT = ("context", "inputs")  # what Dolly and others call Alpaca's input
_UNLABELLED = ("", "-1", "-1.0", "nan", "none", "null", "?", "-")

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
        DataError: If the row has the field under none of these names, or the value is a text that
            UTF-8 cannot encode.
    """
    for name in (field, *aliases.get(field, ())):
        if name in row and row[name] is not None:
            if isinstance(row[name], str):
                checks.encodable_text(f"field {name!r}", row[name], DataError)
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


def optional_text_of(row: Row, field: str, aliases: Aliases, others: Iterable[str]) -> str:
    """Return a field's text, empty where the row lacks it; `others` are the other fields that the task reads.

    Raises:
        DataError: As `text_of`, and where a field that nothing reads has a name like this one.
    """
    if any(row.get(name) is not None for name in (field, *aliases.get(field, ()))):
        return text_of(row, field, aliases, may_be_empty=True)
    read = {name for other in others for name in (other, *aliases.get(other, ()))}
    unread = [name for name in row if name not in read and name != field]
    close = difflib.get_close_matches(field, unread, n=1) or [n for n in unread if n in _AS_INPUT]
    if close:
        raise DataError(
            f"field {field!r} must be in the row or be left out, got a field {close[0]!r} that the task "
            f"does not read: rename it, give task.aliases.{field}=[{close[0]}], or remove it."
        )
    return ""


def texts_of(row: Row, field: str, aliases: Aliases, *, if_none: str = "") -> tuple[str, ...]:
    """Return a field that holds several texts, in order, each once; `if_none` completes the message.

    Understood are a list of texts, a list of `{"text": …}`, an object whose `text` is a list (the
    Hub's SQuAD), and each of these written out as one text (`read_printed`).

    Raises:
        DataError: If the field is absent, holds something else, or no text at all.
    """
    value = value_of(row, field, aliases)
    found = _parsed(field, value)
    if isinstance(found, Mapping):
        found = _parsed(field, found.get("text"))
    items = list(found) if isinstance(found, list | tuple) else [None]
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in items]
    words = [text.strip() for text in texts if isinstance(text, str)]
    if len(words) < len(texts):
        raise _no_list(field, value)
    kept = tuple(dict.fromkeys(text for text in words if text))
    if not kept:
        raise DataError(
            f"field {field!r} must hold at least one text, got {shown(value)}{if_none}."
        )
    for text in kept:
        checks.encodable_text(f"field {field!r}", text, DataError)
        _checked_length(field, text)
    return kept


def label_of(row: Row, field: str, aliases: Aliases) -> tuple[Any, str]:
    """Return a label's value, and its text: of a whole number written with decimals, the number.

    `pandas` turns whole numbers into such as `1.0` where a column lacks a value.
    """
    value = value_of(row, field, aliases)
    text = str(value).strip()
    return value, _WHOLE.sub("", text)


def wrong_label(field: str, rule: str, value: Any) -> DataError:
    """Return the error for a label that the task does not know."""
    is_absent = str(value).strip().casefold() in _UNLABELLED
    remedy = "rows without a label cannot be used" if is_absent else "correct the row"
    return DataError(f"field {field!r} must be {rule}, got {shown(value)}: {remedy}.")


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


def _parsed(field: str, value: Any) -> Any:
    """Return a value; of a text, what it writes out."""
    if not isinstance(value, str):
        return value
    try:
        return read_printed(value)
    except ValueError as error:
        raise _no_list(field, value, str(error)) from None


def _no_list(field: str, value: Any, reason: str = "") -> DataError:
    why = f", in which {reason}" if reason else ""
    return DataError(
        f"field {field!r} must be a list of texts, got {shown(value)}{why}: write the list as JSON, or "
        "the file as JSON Lines or Parquet."
    )
