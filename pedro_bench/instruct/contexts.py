"""Contexts: texts as the token ids an adapted model was trained on, with the prompt boundary kept.

A context is encoded as prompts are in training (beginning-of-sequence token first), and what follows
it is scored or generated as an answer, so a method that reads the prompt sees the context alone. A
context that is too long loses tokens at its beginning, as lm-evaluation-harness has it, but keeps its
beginning-of-sequence token.

A conversation of two turns is written as instruction after instruction in the run's own template, since the
model was trained on single instructions. A second turn is a new prompt that passes through the model whole:
a method that reads the prompt makes its vectors from the first turn too, and no cache of the first turn is
continued.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pedro_bench.data.chat import chat_of, conversation
from pedro_bench.data.coder import Coder
from pedro_bench.data.encoding import encode
from pedro_bench.data.prompt import example_of
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.instruct.questions import Question
from pedro_bench.protocols.settings import build_group
from pedro_bench.protocols.task import Example, Part
from pedro_bench.tasks.instruction import Instruction

Ids = tuple[int, ...]
Parts = tuple[Part, ...]
"""A prompt whose template may write control tokens; in a plain text their written form is text."""

MISREAD = "Some prompts hold the written form of a control token, which this tokenizer cannot read as text."


def context_length(positions: int | None, asked: int | None) -> int:
    """Return how many tokens a context and what follows it may take together.

    Args:
        positions: Those the backbone was made for, or None if it states none.
        asked: `max_length`, or None for all positions the backbone was made for.

    Raises:
        ConfigError: If the backbone was made for fewer, or does not say and none was asked for.
    """
    length = positions if asked is None else asked
    if length is None:
        raise ConfigError(
            "max_length must be given for a backbone that states no number of positions, got null."
        )
    if positions is not None and length > positions:
        raise ConfigError(
            f"max_length must be at most the backbone's {positions} positions, got {length}."
        )
    return length


class Contexts:
    """Encodes contexts and continuations, and counts what had to be shortened.

    Args:
        tokenizer: A Hugging Face tokenizer with an end-of-sequence token.
        max_length: Most tokens of a context and what follows it.

    Attributes:
        max_length: As given.
        shortened: Contexts that lost tokens so far.
        misread: Texts so far with the written form of a control token that the tokenizer cannot read
            as text.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.max_length = max_length
        self.shortened = 0
        self.misread = 0
        self._tokenizer = tokenizer
        self._empty = tokenizer.bos_token_id
        if self._empty is None:
            self._empty = tokenizer.eos_token_id
        self._special = set(tokenizer.all_special_ids)

    def encode(self, texts: Sequence[str | Parts]) -> list[Ids]:
        """Return the ids of each text; an empty one is the beginning-of-sequence token alone.

        Raises:
            DataError: If UTF-8 cannot encode a text.
        """
        filled = [text for text in texts if text]
        found = iter(self._prompt_ids(filled))
        return [next(found) if text else (int(self._empty),) for text in texts]

    def pairs(self, texts: Sequence[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """Return the ids of each (context, continuation).

        White space at the end of a context goes to the continuation. The continuation's ids are
        what it adds to the context's; where the tokenizer would change the context's own ids, it is
        tokenised alone, so that the boundary stays where it is.

        Raises:
            DataError: If a continuation has no tokens.
        """
        moved = [_moved(context, continuation) for context, continuation in texts]
        contexts = self.encode([context for context, _ in moved])
        wholes = self.encode([context + continuation for context, continuation in moved])
        found = []
        for (context, continuation), before, whole in zip(moved, contexts, wholes, strict=True):
            joined = bool(context) and whole[: len(before)] == before
            after = whole[len(before) :] if joined else self._alone(continuation)
            if not after:
                raise DataError(
                    f"a continuation must have at least one token, got {continuation!r}."
                )
            found.append((before, after))
        return found

    def fit(self, context: Ids, room: int) -> Ids:
        """Return a context with room for `room` more tokens.

        Raises:
            DataError: If no token of it would be left.
        """
        most = self.max_length - room
        if len(context) <= most:
            return context
        head = context[:1] if context[0] in self._special else ()
        kept = most - len(head)
        if kept < 1:
            raise DataError(
                f"max_length must leave room for a context beside {room} tokens that follow it, got "
                f"{self.max_length}: raise max_length or lower max_new_tokens."
            )
        self.shortened += 1
        return (*head, *context[-kept:])

    def _alone(self, text: str) -> Ids:
        return tuple(Coder(self._tokenizer).plain_ids([text])[0])

    def _prompt_ids(self, texts: Sequence[str | Parts]) -> list[Ids]:
        examples = [
            example_of("a context", text)
            if isinstance(text, str)
            else Example(text, "", ("",), identity="")
            for text in texts
        ]
        found = encode(self._tokenizer, examples, max_length=sys.maxsize, with_answers=False)
        self.misread += found.misread
        return [one.prompt_ids for one in found.encoded]


def _moved(context: str, continuation: str) -> tuple[str, str]:
    """Move white space from the end of a context to its continuation."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


Render = Callable[[str], tuple[Part, ...]]
"""Turns an instruction into the parts of the run's prompt."""


def template_of(task: Mapping[str, Any]) -> Render:
    """Return the prompt template of a run's task.

    Args:
        task: The group `task` of the run's configuration.

    Raises:
        ConfigError: If the run was not trained on single instructions.
    """
    built = build_group("task", task)
    fields = built.template.fields if isinstance(built, Instruction) else ()
    asked = [name for name in fields if name != built.input_field]
    if len(asked) != 1:
        raise ConfigError(
            "run must be trained on instructions where answers are judged, such as on task=alpaca, got "
            f"task={task.get('name')}."
        )

    def render(instruction: str) -> tuple[Part, ...]:
        row = {asked[0]: instruction, built.answer_field: ""}
        parts: tuple[Part, ...] = built.example(row).parts
        return parts

    return render


@dataclass(frozen=True)
class Conversation:
    """The prompts of a run that was trained under a chat template: all turns so far, in its form.

    Attributes:
        tokenizer: The backbone's tokenizer, which renders the template.
        template: `model`, or the template's text.
    """

    tokenizer: Any
    template: str

    @property
    def ending(self) -> str:
        """What the template writes behind an answer, before the end-of-sequence token."""
        return chat_of(self.tokenizer, self.template).ending

    def prompt(self, question: Question, answers: Sequence[str]) -> tuple[Part, ...]:
        """Return the prompt of the turn that follows the given answers."""
        turns = question.turns[: len(answers) + 1]
        return conversation(self.tokenizer, self.template, turns, answers)


def prompt_of(
    render: Render | Conversation, question: Question, answers: Sequence[str]
) -> tuple[Part, ...]:
    """Return the prompt of the turn that follows the given answers, in parts."""
    if isinstance(render, Conversation):
        return render.prompt(question, answers)
    before: list[Part] = []
    for turn, answer in zip(question.turns, answers, strict=False):
        before += [*render(turn), Part(f" {answer}".rstrip() + "\n\n")]
    return (*before, *render(question.turns[len(answers)]))
