r"""Escaping: any text as LaTeX that pdflatex sets with its standard fonts and no further package.

What these fonts lack (arrows apart, all that is not Latin or Greek) is shown as its code point, `[U+4E2D]`,
so that a table with the words of an error in it compiles and hides nothing.
"""

import unicodedata

_MATHS = {
    "<": "<",
    ">": ">",
    "|": "|",
    "†": r"^\dagger",
    "−": "-",
    "→": r"\to",
    "←": r"\leftarrow",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "±": r"\pm",
    "×": r"\times",
    "·": r"\cdot",
    "∞": r"\infty",
    "α": r"\alpha",
    "β": r"\beta",
    "γ": r"\gamma",
    "δ": r"\delta",
    "ε": r"\varepsilon",
    "λ": r"\lambda",
    "μ": r"\mu",
    "µ": r"\mu",
    "π": r"\pi",
    "σ": r"\sigma",
    "Δ": r"\Delta",
    "Θ": r"\Theta",
    "Σ": r"\Sigma",
    "Ω": r"\Omega",
}
_TEXT = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\n": " ",
    "\t": " ",
    "\r": " ",
    "\u00a0": "~",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "§": r"\S{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0304": r"\=",
    "\u0306": r"\u",
    "\u0307": r"\.",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030b": r"\H",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
_DOTLESS = {"i": r"\i", "j": r"\j"}


def escape_latex(text: str) -> str:
    """Return text in which LaTeX's special signs stand for themselves."""
    return "".join(map(_escaped, unicodedata.normalize("NFC", text)))


def _escaped(sign: str) -> str:
    if sign in _TEXT:
        return _TEXT[sign]
    if sign in _MATHS:
        return f"${_MATHS[sign]}$"
    if " " <= sign <= "~":
        return sign
    apart = unicodedata.normalize("NFD", sign)
    letter, accent = apart[0], apart[1:]
    if letter.isascii() and accent in _ACCENTS:
        return f"{_ACCENTS[accent]}{{{_DOTLESS.get(letter, letter)}}}"
    return f"[U+{ord(sign):04X}]"
