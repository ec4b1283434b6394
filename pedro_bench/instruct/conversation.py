"""Conversations of two turns: each turn's prompt is the whole conversation so far.

The model was trained on single instructions, so a conversation is written as instruction after
instruction in the run's own template. A second turn is a new prompt that passes through the model
whole: a method that reads the prompt makes its vectors from the first turn too, and no cache of the first
turn is continued.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pedro_bench.errors import ConfigError
from pedro_bench.instruct.questions import Question
from pedro_bench.protocols.settings import build_group
from pedro_bench.protocols.task import Part
from pedro_bench.tasks.instruction import Instruction

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
            "run must be trained on instructions for suite=mt_bench, such as task=alpaca, got "
            f"task={task.get('name')}."
        )

    def render(instruction: str) -> tuple[Part, ...]:
        row = {asked[0]: instruction, built.input_field: "", built.answer_field: ""}
        parts: tuple[Part, ...] = built.example(row).parts
        return parts

    return render


def prompt_of(render: Render, question: Question, answers: Sequence[str]) -> tuple[Part, ...]:
    """Return the prompt of the turn that follows the given answers, in parts."""
    before: list[Part] = []
    for turn, answer in zip(question.turns, answers, strict=False):
        before += [*render(turn), Part(f" {answer}".rstrip() + "\n\n")]
    return (*before, *render(question.turns[len(answers)]))
