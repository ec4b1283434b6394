"""Answers of a model to questions of one turn or several, kept in a journal turn by turn."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench.data.formats import numbered_lines
from pedro_bench.errors import RecordError
from pedro_bench.instruct.contexts import MISREAD, Contexts, Conversation, Render, prompt_of
from pedro_bench.instruct.job import Report
from pedro_bench.instruct.questions import TURNS, Question
from pedro_bench.instruct.record import Journal
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Part

if TYPE_CHECKING:
    from pedro_bench.nn.adapted_model import AdaptedModel


_HOW_MANY = {1: "an answer", TURNS: "two answers"}


def answer_all(
    adapted: "AdaptedModel",
    contexts: Contexts,
    render: Render | Conversation,
    questions: Sequence[Question],
    journal: Journal,
    *,
    search: Mapping[str, Any],
    max_new_tokens: int,
    batch_size: int,
    report: Report,
) -> dict[int, list[dict[str, Any]]]:
    """Answer every turn of every question that the journal does not hold yet.

    Returns:
        Question's number -> for each turn its `answer`, whether its prompt was `shortened`, and
        whether a prompt of its batch was `misread` (`Contexts`).

    Raises:
        DataError: If a prompt does not fit beside `max_new_tokens`.
        TrainingError: If the device runs out of memory.
    """
    from pedro_bench.evaluation.decoding import generate

    ending = render.ending if isinstance(render, Conversation) else ""
    done: dict[int, list[dict[str, Any]]] = {one.question_id: [] for one in questions}
    for entry in journal.entries:
        done[entry["question_id"]].append(entry)
    for turn in range(max(len(one.turns) for one in questions)):
        due = [
            one for one in questions if len(done[one.question_id]) == turn and turn < len(one.turns)
        ]
        for start in range(0, len(due), batch_size):
            chosen = due[start : start + batch_size]
            before = contexts.misread
            whole = contexts.encode([_prompt(render, one, done) for one in chosen])
            prompts = [
                Encoded(contexts.fit(ids, max_new_tokens), (), number)
                for number, ids in enumerate(whole)
            ]
            said = generate(
                adapted,
                prompts,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                ending=ending,
                **search,
            )
            for question, text, ids, prompt in zip(chosen, said, whole, prompts, strict=True):
                entry = {
                    "question_id": question.question_id,
                    "turn": turn + 1,
                    "answer": text.strip(),
                    "shortened": len(prompt) < len(ids),
                    "misread": contexts.misread > before,
                }
                journal.append(entry)
                done[question.question_id].append(entry)
            report(f"turn {turn + 1}: {start + len(chosen)} of {len(due)} answers")
    return done


def answer_rows(
    questions: Sequence[Question], entries: Mapping[int, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the answers as rows of a file; entries by a question's number, one a turn."""
    return [
        {
            "question_id": one.question_id,
            "category": one.category,
            "turns": list(one.turns),
            "answers": [entry["answer"] for entry in entries[one.question_id]],
            "shortened": sum(entry["shortened"] for entry in entries[one.question_id]),
            "misread": any(entry.get("misread") for entry in entries[one.question_id]),
        }
        for one in questions
    ]


def read_answers(path: Path, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Read a file of `answer_rows`.

    Raises:
        RecordError: If it is damaged or not of these questions.
    """
    try:
        rows = [json.loads(line) for _, line in numbered_lines(path)]
        turns = max(len(one.turns) for one in questions)
        whole = [row["question_id"] for row in rows if len(row["answers"]) == turns]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"file {path} must hold answers, got {error!r}: give rerun=true to make them anew."
        ) from None
    if whole != [one.question_id for one in questions]:
        raise RecordError(
            f"file {path} must hold {_HOW_MANY[turns]} to each of {len(questions)} "
            f"questions, got {len(whole)}: give rerun=true to make them anew."
        )
    return rows


def answer_notes(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence on what was doubtful when the rows of `answer_rows` were made."""
    notes = [MISREAD] if any(row.get("misread") for row in answers) else []
    if shortened := sum(row["shortened"] for row in answers):
        prompts = "prompt" if shortened == 1 else "prompts"
        notes.append(f"{shortened} {prompts} lost tokens at their beginning to fit the model.")
    return notes


def _prompt(
    render: Render | Conversation,
    question: Question,
    done: Mapping[int, Sequence[Mapping[str, Any]]],
) -> tuple[Part, ...]:
    said = [str(entry["answer"]) for entry in done[question.question_id]]
    return prompt_of(render, question, said)
