"""Questions of MT-Bench: two turns each, some with a reference answer to each turn.

    <root>/mt_bench/question.jsonl                question_id, category, turns, perhaps reference
    <root>/mt_bench/reference_answer/<one>.jsonl  the official reference answers

The Hub's copy names the fields `prompt_id` and `prompt`; both are understood. Officially the judge sees
references in math, reasoning and coding alone, though other questions have notes in that field: those
are left out. A category of one's own keeps what it has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pedro_bench.data.formats import read_rows
from pedro_bench.errors import DataError
from pedro_bench.instruct.benchmark_rows import dataset, suite_folder
from pedro_bench.protocols.task import Located

TURNS = 2

_WITHOUT_REFERENCE = ("writing", "roleplay", "extraction", "stem", "humanities")
"""Official categories whose answers are judged without a reference."""


@dataclass(frozen=True)
class Question:
    """One conversation to be had.

    Attributes:
        question_id: Its number in the release.
        category: Such as `writing` or `math`.
        turns: What the user says, first and then (MT-Bench: two turns; AlpacaEval: one).
        reference: An answer to each turn to compare with, empty where there is none for it; or nothing.
    """

    question_id: int
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()

    def is_referenced(self, turn: int) -> bool:
        """Whether the judge of a turn (1 or 2) has a reference answer to see."""
        return any(self.reference[:turn])


def question_files(root: str) -> list[Path]:
    """Return the question file and, where there is one, the file of reference answers.

    Raises:
        DataError: If there is no question file, or there are several files of references.
    """
    folder = suite_folder(root, "mt_bench")
    questions = folder / "question.jsonl"
    if not questions.is_file():
        raise DataError(f"{folder} must hold question.jsonl, got no such file.")
    references = sorted((folder / "reference_answer").glob("*.jsonl"))
    if len(references) > 1:
        names = ", ".join(path.name for path in references)
        raise DataError(
            f"{folder / 'reference_answer'} must hold one file, got {names}: move away all but one."
        )
    return [questions, *references]


def local_questions(root: str) -> list[Question]:
    """Read all questions with their references.

    Raises:
        DataError: If a file cannot be read or a row is malformed; with file, line and field.
    """
    files = question_files(root)
    questions = questions_of(read_rows(files[0]))
    if len(files) == 1:
        return questions
    known = {one.question_id for one in questions}
    references = {}
    for row, place in read_rows(files[1]):
        number = _number(row, place)
        if number not in known:
            raise DataError(f"{place}: field 'question_id' must be a question's, got {number}.")
        references[number] = _reference_turns(row, place)
    return [
        replace(one, reference=references.get(one.question_id, one.reference)) for one in questions
    ]


def questions_of(rows: Iterable[Located]) -> list[Question]:
    """Check rows and return them as questions.

    Raises:
        DataError: If a row is malformed or a number stands twice.
    """
    found: dict[int, Question] = {}
    for row, place in rows:
        number = _number(row, place)
        if number in found:
            raise DataError(f"{place}: field 'question_id' must stand once, got {number} again.")
        turns = _texts(row.get("turns", row.get("prompt")), "turns", place)
        if len(turns) != TURNS:
            raise DataError(f"{place}: field 'turns' must be two texts, got {len(turns)}.")
        category = row.get("category")
        if not isinstance(category, str) or not category:
            raise DataError(f"{place}: field 'category' must be a text, got {category!r}.")
        reference = _texts(row.get("reference") or [], "reference", place, may_be_empty=True)
        shown = () if category in _WITHOUT_REFERENCE else reference[:TURNS]
        found[number] = Question(number, category, (turns[0], turns[1]), shown)
    return list(found.values())


def hub_questions(revision: str) -> list[Question]:
    """Load the questions of MT-Bench.

    Raises:
        DataError: If the data set is neither reachable nor cached at this revision, or a row is malformed.
    """
    source = dataset("mt_bench", revision)
    (loaded,) = source.load([None])
    return questions_of(
        Located(row, f"{source.hub_id} {split} row {number}")
        for split in loaded
        for number, row in enumerate(loaded[split], start=1)
    )


def _number(row: Mapping[str, Any], place: str) -> int:
    number = row.get("question_id", row.get("prompt_id"))
    if type(number) is not int:
        raise DataError(f"{place}: field 'question_id' must be a whole number, got {number!r}.")
    return number


def _reference_turns(row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """Return the turns of the first choice of an official answer."""
    choices = row.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise DataError(f"{place}: field 'choices' must be a list of answers, got {choices!r:.60}.")
    turns = _texts(choices[0].get("turns"), "choices[0].turns", place)
    if len(turns) != TURNS:
        raise DataError(f"{place}: field 'choices[0].turns' must be two texts, got {len(turns)}.")
    return turns


def _texts(value: Any, field: str, place: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    whole = isinstance(value, list) and all(
        isinstance(one, str) and (may_be_empty or one.strip()) for one in value
    )
    if not whole:
        raise DataError(f"{place}: field {field!r} must be a list of texts, got {value!r:.60}.")
    return tuple(value)
