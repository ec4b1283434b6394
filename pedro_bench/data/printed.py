"""Lists and objects written out as text: as JSON, as Python prints them, and as NumPy does.

`pandas` and `datasets` write a list into a CSV as NumPy prints it: `['a' 'b']`, with white space instead
of commas, over several lines where it is long, and as `array(['a', 'b'], dtype=object)` within an object.
"""

import ast
import json
import re
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>u?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<elision>\.\.\.)
    |(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][\w.]*)
    |(?P<mark>[][(){},:=])""",
    re.VERBOSE,
)
_NO_TEXTS = ("None", "True", "False", "nan", "inf", "null", "true", "false")
_CALLS = re.compile(r"list|tuple|(?:np\.|numpy\.)?(?:array|str_|bool_?|u?int\d+|float\d+)")
_CLOSING = {"[": "]", "(": ")", "{": "}"}


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
        return _Reader(text).whole()
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError from None


class _Token(NamedTuple):
    kind: str
    text: str
    is_apart: bool  # white space stands before it


class _Reader:
    """Reads one text; every method raises ValueError where it finds something else than it expects."""

    def __init__(self, text: str) -> None:
        self._tokens: list[_Token] = []
        place, is_apart = 0, False
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise ValueError
            kind, place = str(found.lastgroup), found.end()
            if kind == "elision":
                raise ValueError("values are left out at '...', as NumPy prints long lists")
            if kind != "space":
                self._tokens.append(_Token(kind, found.group(), is_apart))
            is_apart = kind == "space"
        self._tokens.append(_Token("end", "", True))
        self._at = 0

    def whole(self) -> Any:
        value = self._value()
        self._take("")
        return value

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *expected: str) -> _Token:
        """Move on by one token, which must be one of the expected marks where some are given."""
        token = self._next
        if expected and (token.text not in expected or token.kind not in ("mark", "end")):
            raise ValueError
        self._at += 1
        return token

    def _is(self, mark: str) -> bool:
        return self._next.kind == "mark" and self._next.text == mark

    def _value(self) -> Any:
        kind, text, _ = self._take()
        if kind == "text":
            return ast.literal_eval(text)
        if kind == "number":
            return float(text)
        if kind == "name":
            return self._named(text)
        if text == "{":
            return self._object()
        if text in ("[", "("):
            return self._items(text)
        raise ValueError

    def _named(self, name: str) -> Any:
        """Return what a call such as `array([…], dtype=object)` holds; other known names give None."""
        if not self._is("("):
            if name not in _NO_TEXTS:
                raise ValueError
            return None
        if not _CALLS.fullmatch(name):
            raise ValueError
        self._take("(")
        value = self._value()
        while self._take(",", ")").text == ",":
            if self._take().kind != "name":
                raise ValueError
            self._take("=")
            if self._next.text in _CLOSING:
                self._value()
            elif self._take().kind not in ("name", "text"):
                raise ValueError
        return value

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._is("}"):
            key = self._value()
            if not isinstance(key, str):
                raise ValueError
            self._take(":")
            found[key] = self._value()
            if not self._is("}"):
                self._take(",")
        self._take("}")
        return found

    def _items(self, opening: str) -> Any:
        """Return the items of a list, all parted by commas or all by white space."""
        found: list[Any] = []
        parted: set[str] = set()
        closing = _CLOSING[opening]
        while not self._is(closing):
            found.append(self._value())
            if self._is(","):
                self._take(",")
                parted.add(",")
            elif not self._is(closing):
                if not self._next.is_apart:
                    raise ValueError
                parted.add(" ")
        self._take(closing)
        if len(parted) > 1:
            raise ValueError("some items have a comma between them and some have none")
        if opening == "(" and " " in parted:
            raise ValueError
        return found[0] if opening == "(" and len(found) == 1 and not parted else found
