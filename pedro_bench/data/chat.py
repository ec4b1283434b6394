"""Chat templates: the text that a tokenizer's template puts around what user and assistant say.

    <text>user's turn<text>assistant's turn<text>…         one text before each turn, one behind the last

The template is rendered once, over stand-ins for the turns, and cut where they stand. So the prompt ends
exactly where the answer begins, in training and in decoding: there PEDRO pools and the loss starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pedro_bench.data.prompt import PromptTemplate, templates_of
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.task import Part

NONE, MODEL = "none", "model"
"""Values of `task.chat_template` beside a template's text: no template, and the tokenizer's own."""

VERSION = 2
"""Raised whenever prompts under a template, or what is read of answers, move numbers; enters their keys."""

_USER, _ASSISTANT = "user", "assistant"
_BETWEEN = "\n\n"
"""Between the fields of a user's turn."""


@dataclass(frozen=True)
class Chat:
    """The texts of a template around one turn of each side.

    Attributes:
        before: From the beginning to the user's turn, without a beginning-of-sequence token that the
            tokenizer puts before every text itself.
        between: From the user's turn to the assistant's, without spaces at its end.
        joint: These spaces, which belong to the answer.
        ending: Behind the assistant's turn, without the end-of-sequence token that ends every answer.
    """

    before: str
    between: str
    joint: str
    ending: str

    def template(self, fields: Sequence[str], shrinkable: str | None) -> PromptTemplate:
        """Return the prompt whose user's turn holds the fields, a blank line between them."""
        texts = (self.before, *[_BETWEEN] * (len(fields) - 1))
        pieces = (*zip(texts, fields, strict=True), (self.between, None))
        return PromptTemplate(pieces, shrinkable, joint=self.joint, ending=self.ending)


def chat_of(tokenizer: Any, template: str) -> Chat:
    """Read a template.

    Args:
        tokenizer: A Hugging Face tokenizer, which renders it.
        template: MODEL, or the template's text (Jinja).

    Raises:
        ConfigError: If the tokenizer has none, or it cannot be rendered, lacks a turn or shows one twice.
    """
    before, between, ending = texts_around(tokenizer, template, 1)
    kept = between.rstrip(" ")
    return Chat(before, kept, between[len(kept) :], ending)


def conversation(
    tokenizer: Any, template: str, turns: Sequence[str], answers: Sequence[str]
) -> tuple[Part, ...]:
    """Return the prompt that asks for the answer to the last of some turns.

    Args:
        tokenizer: A Hugging Face tokenizer.
        template: As for `chat_of`.
        turns: What the user said, at least once.
        answers: What the assistant answered to all turns but the last.

    Raises:
        ConfigError: As `chat_of`.
    """
    texts = texts_around(tokenizer, template, len(turns))
    said = [one for pair in zip(turns, [*answers, None], strict=True) for one in pair][:-1]
    parts = [Part(texts[0], is_template=True)]
    for value, text in zip(said, texts[1:], strict=False):
        parts += [Part(str(value)), Part(text, is_template=True)]
    parts[-1] = Part(parts[-1].text.rstrip(" "), is_template=True)
    return tuple(part for part in parts if part.text)


def templates_for(task: Mapping[str, Any], tokenizer: Any) -> tuple[PromptTemplate, ...]:
    """Return the templates that may have made a run's prompts.

    Args:
        task: The task's configuration; `chat_template` may be absent.
        tokenizer: The backbone's tokenizer.
    """
    template = str(task.get("chat_template", NONE))
    if template == NONE:
        return templates_of(task)
    return (chat_of(tokenizer, template).template((_USER,), None),)


def texts_around(tokenizer: Any, template: str, turns: int) -> tuple[str, ...]:
    """Return the texts before each of `2 * turns` messages, and the one behind the last.

    Raises:
        ConfigError: As `chat_of`.
    """
    if template == MODEL and not tokenizer.chat_template:
        raise ConfigError(
            "task.chat_template must be none or a file with this backbone, whose tokenizer has no chat "
            "template, got 'model'."
        )
    return _texts_around(tokenizer, None if template == MODEL else template, turns)


@lru_cache(maxsize=16)
def _texts_around(tokenizer: Any, template: str | None, turns: int) -> tuple[str, ...]:
    marks = [f"\ue000{number}\ue001" for number in range(2 * turns)]
    messages = [
        {"role": (_USER, _ASSISTANT)[number % 2], "content": mark}
        for number, mark in enumerate(marks)
    ]
    try:
        whole = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template)
    except Exception as error:  # whatever Jinja or the template itself raises
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError(
            f"task.chat_template must be a template that can be rendered, got {reason}."
        ) from error
    texts, rest = [], str(whole)
    for number, mark in enumerate(marks):
        if rest.count(mark) != 1:
            side = (_USER, _ASSISTANT)[number % 2]
            raise ConfigError(
                f"task.chat_template must show each turn once and in order, got {whole.count(mark)} of turn "
                f"{number + 1}, the {side}'s: a template without an {_ASSISTANT}'s turn cannot be trained."
            )
        text, _, rest = rest.partition(mark)
        texts.append(text)
    texts[0] = _without_first(tokenizer, texts[0])
    ending, eos = rest.rstrip(), str(tokenizer.eos_token)
    if ending.lstrip().startswith(eos):
        ending = ending.lstrip().removeprefix(eos)
    return (*texts, ending)


def _without_first(tokenizer: Any, text: str) -> str:
    """Leave out a written beginning-of-sequence token where the tokenizer adds it to every text."""
    first = tokenizer.bos_token
    adds = first is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return text.removeprefix(first) if adds else text
