r"""Escaping: any text as LaTeX that pdflatex sets with its standard fonts and no further package.

What these fonts lack (arrows apart, all that is not Latin or Greek) is shown as its code point, `[U+4E2D]`,
so that a table with the words of an error in it compiles and hides nothing.
"""

import unicodedata

_MATHS = dict(zip(
    "<>|†−→←≤≥≠±×·∞αβγδελμµπσΔΘΣΩ",
    r"< > | ^\dagger - \to \leftarrow \le \ge \ne \pm \times \cdot \infty \alpha \beta \gamma \delta "
    r"\varepsilon \lambda \mu \mu \pi \sigma \Delta \Theta \Sigma \Omega".split(),
    strict=True,
))  # fmt: skip
_TEXT = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **dict.fromkeys("\n\t\r", " "),
    **dict(zip("–—‘’“”\u00a0", ("--", "---", "`", "'", "``", "''", "~"), strict=True)),
    **dict(zip(
        "\\~^…§ßæÆøØłŁœŒı",
        r"\textbackslash{} \textasciitilde{} \textasciicircum{} \ldots{} \S{} \ss{} \ae{} \AE{} \o{} "
        r"\O{} \l{} \L{} \oe{} \OE{} \i{}".split(),
        strict=True,
    )),
}  # fmt: skip
_ACCENTS = dict(zip(
    "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327",
    r"\` \' \^ \~ \= \u \. \" \r \H \v \c".split(),
    strict=True,
))  # fmt: skip
_DOTLESS = {"i": r"\i", "j": r"\j"}


def escape_latex(text: str) -> str:
    """Return text in which LaTeX's special signs stand for themselves."""
    if text.isascii() and text.replace(" ", "").isalnum():
        return text
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
