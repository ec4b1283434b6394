"""Instruction following: an instruction, perhaps with an input, and a free response.

The response is a text, or a conversation whose last message is the assistant's (UltraFeedback's `chosen`).
Responses to real instructions are judged elsewhere (MT-Bench, MMLU, BBH); the overlap with the gold
response measured here separates methods on short responses, such as those of the micro world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from pedro_bench import checks
from pedro_bench.data.chat import MODEL, NONE, Chat, chat_of
from pedro_bench.data.fields import optional_text_of, shown, text_of, value_of
from pedro_bench.data.prompt import PromptedTask, PromptTemplate, identity_of, parse_template
from pedro_bench.errors import ConfigError, DataError, near_match, reason
from pedro_bench.metrics.question_answering import best_over_golds, exact_match, rouge_l
from pedro_bench.protocols.task import Example, Metric, Row, Task


@dataclass(frozen=True, kw_only=True)
class Instruction(PromptedTask):
    """An instruction with an optional input, and its response.

    Attributes:
        prompt: Template for rows that have an input. Its `shrinkable` field may be cut, and in the other
            prompt then the last one.
        prompt_without_input: Template for rows whose input is empty; None where no row has an input.
        input_field: The field that may be empty or absent; None together with `prompt_without_input`.
        answer_field: Field that holds the response, a text or a list of messages with role and content.
        chat_template: `none`; `model`, the chat template of the backbone's tokenizer; or a file with one
            (Jinja), whose text then stands here. Under one the user's turn is the prompt's fields, a blank
            line between them, and `prompt` writes nothing else.
    """

    prompt_without_input: str | None = None
    input_field: str | None = "input"
    answer_field: str = "output"
    chat_template: str = checks.later(NONE, neutral=NONE)

    main_metric: ClassVar[str] = "rouge_l"
    metric_functions: ClassVar[tuple[Metric, ...]] = (rouge_l, exact_match)
    is_mean_over_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.answer_field", self.answer_field)
        object.__setattr__(self, "chat_template", _template_text(self.chat_template))
        if (self.input_field is None) != (self.prompt_without_input is None):
            raise ConfigError(
                "task.prompt_without_input must be null together with task.input_field, got "
                f"{self.prompt_without_input!r} and {self.input_field!r}."
            )
        if self.input_field is None:
            return
        with_input, without = set(self.template.fields), set(self._short_template.fields)
        if with_input != without | {self.input_field} or self.input_field in without:
            raise ConfigError(
                "task.prompt_without_input must have the fields of task.prompt less "
                f"{self.input_field!r}, got {self.prompt_without_input!r}."
            )

    @property
    def _short_template(self) -> PromptTemplate:
        if self.prompt_without_input is None:
            return self.template
        alone = parse_template("task.prompt_without_input", self.prompt_without_input, None)
        last = alone.fields[-1] if alone.fields and self.shrinkable is not None else None
        return replace(alone, shrinkable=last)

    @property
    def gold_field(self) -> str:
        """The field of `task.answer_field`."""
        return self.answer_field

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the prompt but the input, and the one of the response."""
        return (*self._short_template.fields, self.gold_field)

    def texts(self, row: Row) -> dict[str, str]:
        """Return the texts that fill the prompt; the input may be absent or empty."""
        return {
            name: optional_text_of(row, name, self.aliases, self.fields)
            if name == self.input_field
            else text_of(row, name, self.aliases)
            for name in self.template.fields
        }

    def example(self, row: Row) -> Example:
        """Fill in the prompt, without its input line where the input is empty.

        A response may be empty, as a few official ones are: the model is to end at once.
        """
        values = self.texts(row)
        has_input = self.input_field is None or values[self.input_field]
        chosen = self.template if has_input else self._short_template
        answer = self._response(row)
        parts, identity = chosen.parts(values), identity_of(values)
        return Example(parts, answer, (answer,), identity, open_ended=True)

    def for_tokenizer(self, tokenizer: Any) -> Task:
        """Return the task under the chat template, if there is one.

        Raises:
            ConfigError: If the tokenizer has none, or the template lacks a turn.
        """
        if self.chat_template == NONE:
            return self
        settings = {one.name: getattr(self, one.name) for one in fields(self)}
        return ChatInstruction(**settings, chat=chat_of(tokenizer, self.chat_template))

    def _response(self, row: Row) -> str:
        """Return the response's text.

        Raises:
            DataError: If the field holds neither a text nor a conversation that the assistant ends.
        """
        messages = value_of(row, self.answer_field, self.aliases)
        if isinstance(messages, str):
            return text_of(row, self.answer_field, self.aliases, may_be_empty=True)
        last = messages[-1] if isinstance(messages, list | tuple) and messages else None
        if not isinstance(last, Mapping) or last.get("role") != "assistant":
            raise DataError(
                f"field {self.answer_field!r} must be a text or a list of messages that the assistant "
                f"ends, got {shown(messages)}."
            )
        return text_of(last, "content", {}, may_be_empty=True)

    def extract(self, text: str, example: Example) -> str:
        """Return the whole generated text, stripped: responses may have several lines."""
        return text.strip()

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return ROUGE-L and exact match (normalised as in SQuAD), in percent."""
        golds = [example.golds for example in examples]
        return {
            "rouge_l": best_over_golds(rouge_l, predictions, golds),
            "em": best_over_golds(exact_match, predictions, golds),
        }


@dataclass(frozen=True, kw_only=True)
class ChatInstruction(Instruction):
    """Instructions in the form of a chat template; `chat` is the template as one tokenizer renders it."""

    chat: Chat

    @property
    def ending(self) -> str:
        """What the template writes behind the assistant's turn."""
        return self.chat.ending

    def example(self, row: Row) -> Example:
        """Put the fields into the user's turn, and the response into the assistant's."""
        values = self.texts(row)
        names = [name for name in self.template.fields if values[name]]
        cut = self.shrinkable if self.shrinkable in (*names, None) else names[-1]
        answer, identity = self._response(row), identity_of(values)
        return Example(
            self.chat.template(names, cut).parts(values),
            answer,
            (answer,),
            identity,
            open_ended=True,
            joint=self.chat.joint,
            ending=self.ending,
        )


def _template_text(given: Any) -> str:
    """Return `none`, `model` or the text of a template, which a file may hold.

    Raises:
        ConfigError: If it is none of these.
    """
    if given in (NONE, MODEL) or (isinstance(given, str) and ("{{" in given or "{%" in given)):
        return str(given)
    place = Path(str(given)).expanduser()
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"task.chat_template must be none, model or a file with a template, got {given!r} "
            f"({reason(error)})." + near_match(str(given), (NONE, MODEL))
        ) from None
    if "{{" not in text:
        raise ConfigError(
            f"task.chat_template must be a file with a Jinja template, got {given!r} without '{{{{'."
        )
    return text
