"""Prompted tasks: a template with `{field}` places, one of which may shrink; answers read from text."""

import hashlib
import string
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from string import Formatter
from typing import Any

from pedro_bench import checks
from pedro_bench.data.fields import plain_lists, text_of
from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.protocols.task import Example, Part, Row, Task


@dataclass(frozen=True)
class PromptTemplate:
    """A parsed template: (text before, field) in order, and the field that may be cut at its end, or None.

    The field of the last piece may be None. `joint` stands between prompt and answer, `ending` behind it.
    """

    pieces: tuple[tuple[str, str | None], ...]
    shrinkable: str | None
    joint: str = " "
    ending: str = ""

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Fields in the order of the template, each once."""
        return tuple(dict.fromkeys(name for _, name in self.pieces if name is not None))

    def parts(self, values: Mapping[str, str]) -> tuple[Part, ...]:
        """Fill in the fields; each piece of the template and each value is a part."""
        parts: list[Part] = []
        for before, name in self._own:
            if before.text:
                parts.append(before)
            if name is not None:
                parts.append(Part(values[name], can_shrink=name == self.shrinkable))
        return tuple(parts)

    def parts_of(self, prompt: str) -> tuple[Part, ...] | None:
        """Return the parts of a prompt that this template made, or None where it did not.

        Where a value holds the template's own text, the first place counts.
        """
        *placed, (tail, _) = self._own
        if not prompt.endswith(tail.text):
            return None
        rest, parts = prompt[: len(prompt) - len(tail.text)], []
        for number, (before, _) in enumerate(placed):
            value, _, after = rest.partition(before.text) if before.text else ("", "", rest)
            if before.text not in rest or (number == 0 and value):
                return None
            parts += [Part(value), before]
            rest = after
        return tuple(part for part in (*parts, Part(rest), tail) if part.text)

    @cached_property
    def _own(self) -> tuple[tuple[Part, str | None], ...]:
        """Each field with the text before it, and last the text behind the fields."""
        own: list[tuple[Part, str | None]] = []
        text = ""
        for before, name in self.pieces:
            text += before
            if name is not None:
                own.append((Part(text, is_template=True), name))
                text = ""
        return (*own, (Part(text, is_template=True), None))


@lru_cache(maxsize=128)
def parse_template(key: str, template: str, shrinkable: str | None) -> PromptTemplate:
    """Parse and check a template.

    Args:
        key: Full key of the template, for messages.
        template: Text with `{field}` places; it must not end in white space.
        shrinkable: Field that may be cut, or None.

    Raises:
        ConfigError: If the template is not such a text, or does not hold the shrinkable field once.
    """
    checks.text(key, template)
    if template != template.rstrip():
        raise ConfigError(
            f"{key} must be a text that does not end in white space, got {template!r}."
        )
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{key} must have balanced braces, got {template!r} ({error}).") from None
    for _, name, spec, conversion in parsed:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise ConfigError(f"{key} must name plain fields such as {{text}}, got {{{name}}}.")
    pieces = tuple((before, name) for before, name, _, _ in parsed)
    count = sum(name == shrinkable for _, name in pieces) if shrinkable is not None else 1
    if count != 1:
        raise ConfigError(
            f"task.shrinkable must be a field that stands once in {key}, got {shrinkable!r}."
            + near_match(str(shrinkable), [name for _, name in pieces if name])
        )
    return PromptTemplate(pieces, shrinkable)


def templates_of(task: Mapping[str, Any]) -> tuple[PromptTemplate, ...]:
    """Return the prompt templates in a task's configuration."""
    found = ((f"task.{name}", task.get(name)) for name in ("prompt", "prompt_without_input"))
    return tuple(parse_template(key, text, None) for key, text in found if isinstance(text, str))


def ending_of(templates: Sequence[PromptTemplate]) -> str:
    """Return what a task's templates, which end alike, write behind an answer; empty without any."""
    return templates[0].ending if templates else ""


def example_of(
    key: str, prompt: str, answer: str = "", templates: Sequence[PromptTemplate] = ()
) -> Example:
    """Return an example of a prompt that is given as text.

    Args:
        key: What the prompt is, as messages name it.
        prompt: The prompt.
        answer: Its answer.
        templates: Those that may have made the prompt; what the first that fits wrote may hold control
            tokens, the rest of the prompt is text.

    Raises:
        DataError: If prompt or answer is text that UTF-8 cannot encode.
    """
    checks.encodable_text(key, prompt, DataError)
    checks.encodable_text(f"the answer of {key}", answer, DataError)
    for template in templates:
        parts = template.parts_of(prompt)
        if parts:
            joint, ending = template.joint, template.ending
            return Example(parts, answer, (answer,), prompt, joint=joint, ending=ending)
    return Example((Part(prompt),), answer, (answer,), identity=prompt)


def identity_of(values: Mapping[str, str]) -> str:
    """Return a digest of all values, white space and case folded: equal for duplicates."""
    folded = "\x1f".join(" ".join(value.split()).casefold() for value in values.values())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class PromptedTask(Task):
    """A prompt filled from the texts of a row, and one more field that holds what is right.

    Attributes:
        prompt: Template with a `{field}` for every text field.
        shrinkable: The field that may be cut from its end to fit the length limit, or None.
        aliases: Field -> other names of it in other releases.
    """

    prompt: str
    shrinkable: str | None = None
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "aliases", plain_lists("task.aliases", self.aliases))
        self.template  # noqa: B018 - checks the prompt

    @property
    @abstractmethod
    def gold_field(self) -> str:
        """The field that holds the label or the answers."""

    @property
    def template(self) -> PromptTemplate:
        """The parsed prompt."""
        return parse_template("task.prompt", self.prompt, self.shrinkable)

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the prompt, and the one that holds what is right."""
        return (*self.template.fields, self.gold_field)

    def texts(self, row: Row) -> dict[str, str]:
        """Return the texts that fill the prompt, field -> text."""
        return {name: text_of(row, name, self.aliases) for name in self.template.fields}


def first_line(text: str) -> str:
    """Return the first line that holds anything, without white space around it."""
    return text.strip().split("\n", 1)[0].strip()


def fold(text: str) -> str:
    """Return a text as closed answers are compared: case and white space folded, ends bare.

    Bare means without punctuation or white space at the two ends, unless nothing would be left (`+`, `:)`);
    within the text both stay.
    """
    folded = " ".join(text.casefold().split())
    return folded.strip(string.punctuation + string.whitespace) or folded


def match_candidate(text: str, candidates: Sequence[str]) -> str:
    """Return the candidate that the first line is, else the line itself (an invalid answer)."""
    line = first_line(text)
    folded = fold(line)
    return next((known for known in candidates if fold(known) == folded), line)
