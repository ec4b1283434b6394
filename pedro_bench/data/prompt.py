"""Prompt template of a task: text with `{field}` places, one of which may shrink to fit."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from string import Formatter

from pedro_bench import checks
from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.task import Part


@dataclass(frozen=True)
class PromptTemplate:
    """A parsed template.

    Attributes:
        pieces: (text before, field) in order; the field of the last piece may be None.
        shrinkable: The field whose text may be cut from its end, or None.
    """

    pieces: tuple[tuple[str, str | None], ...]
    shrinkable: str | None

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Fields in the order of the template, each once."""
        return tuple(dict.fromkeys(field for _, field in self.pieces if field is not None))

    def parts(self, values: Mapping[str, str]) -> tuple[Part, ...]:
        """Fill in the fields; pieces that may not shrink are joined with their neighbours."""
        parts: list[Part] = []
        fixed = ""
        for before, field in self.pieces:
            fixed += before
            if field is not None and field == self.shrinkable:
                parts += [Part(fixed)] if fixed else []
                parts.append(Part(values[field], can_shrink=True))
                fixed = ""
            elif field is not None:
                fixed += values[field]
        return (*parts, Part(fixed)) if fixed else tuple(parts)


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
    for _, field, spec, conversion in parsed:
        if field is not None and (not field.isidentifier() or spec or conversion):
            raise ConfigError(f"{key} must name plain fields such as {{text}}, got {{{field}}}.")
    pieces = tuple((before, field) for before, field, _, _ in parsed)
    count = sum(field == shrinkable for _, field in pieces) if shrinkable is not None else 1
    if count != 1:
        raise ConfigError(
            f"task.shrinkable must be a field that stands once in {key}, got {shrinkable!r}."
            + near_match(str(shrinkable), [field for _, field in pieces if field])
        )
    return PromptTemplate(pieces, shrinkable)


def identity_of(values: Mapping[str, str]) -> str:
    """Return a digest of all values, white space and case folded: equal for twins."""
    folded = "\x1f".join(" ".join(value.split()).casefold() for value in values.values())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()[:32]
