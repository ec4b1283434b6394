"""MT-Bench of one run: two answers to each question, each graded by the judge, and their means."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pedro_bench.data.tables import numbered_lines
from pedro_bench.errors import JudgingError, RecordError
from pedro_bench.instruct.contexts import MISREAD
from pedro_bench.instruct.job import Outcome
from pedro_bench.instruct.judging import Judgement
from pedro_bench.instruct.questions import TURNS, Question


def answer_rows(
    questions: Sequence[Question], entries: Mapping[int, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the answers as rows of a file.

    Args:
        questions: The questions, in order.
        entries: Question's number -> `answer` and `shortened` of each turn.
    """
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
        whole = [row["question_id"] for row in rows if len(row["answers"]) == TURNS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"file {path} must hold answers, got {error!r}: give rerun=true to make them anew."
        ) from None
    if whole != [one.question_id for one in questions]:
        raise RecordError(
            f"file {path} must hold two answers to each of {len(questions)} questions, got "
            f"{len(whole)}: give rerun=true to make them anew."
        )
    return rows


def outcome_of(
    judgements: Sequence[Judgement], requests: int, answers: Sequence[Mapping[str, Any]]
) -> Outcome:
    """Put the grades together: the mean over all answers, over each turn and over each category.

    Every mean is taken twice: of the strict grades, and of those that FastChat reads.

    Args:
        judgements: Every judgement, settled.
        requests: Requests sent to the judge in all.
        answers: Rows of the answers.

    Raises:
        JudgingError: If no answer was graded at all.
    """
    graded = [one for one in judgements if one.grade is not None]
    if not graded:
        raise JudgingError(
            f"the judge must grade in the form [[7]], got {len(judgements)} judgements without a "
            "grade: look at its answers in the journal and choose another judge.model."
        )
    parts = {}
    for category in dict.fromkeys(one.question.category for one in judgements):
        of_category = [one for one in judgements if one.question.category == category]
        count = sum(one.grade is not None for one in of_category)
        parts[category] = {**_means(of_category), "graded": count, "rows": len(of_category)}
    rows = [
        {
            "index": number,
            "question_id": one.question.question_id,
            "turn": one.turn,
            "score": one.grade,
            "fastchat_score": one.fastchat_grade,
            "replies": one.replies,
        }
        for number, one in enumerate(judgements)
    ]
    notes = _notes(judgements, len(graded), requests)
    if any(row.get("misread") for row in answers):
        notes.append(MISREAD)
    shortened = sum(row["shortened"] for row in answers)
    if shortened:
        notes.append(f"{shortened} prompts lost tokens at their beginning to fit the model.")
    return Outcome(_all_means(judgements), parts, {"answers": answers, "judgements": rows}, notes)


def _notes(judgements: Sequence[Judgement], graded: int, requests: int) -> list[str]:
    referenced = sum(one.question.is_referenced(one.turn) for one in judgements)
    notes = [
        f"The judge was asked {requests} times for {len(judgements)} grades, {referenced} of them "
        "with a reference answer in view."
    ]
    models = [reply.get("model") for one in judgements for reply in one.replies]
    named = sorted({one for one in models if isinstance(one, str)})
    if named:
        notes.append(f"The judge's replies name the model {', '.join(named)}.")
    if graded < len(judgements):
        notes.append(
            f"{len(judgements) - graded} answers got no grade from the judge; the means leave them out."
        )
    differing = sum(one.grade != one.fastchat_grade for one in judgements)
    notes.append(
        f"FastChat's reading of the judgements differs from the strict one on {differing} of "
        f"{len(judgements)} answers."
    )
    return notes


def _all_means(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Return the means over all answers and over each turn, strict ones first."""
    found = _means(judgements)
    for turn in range(1, TURNS + 1):
        of_turn = _means([one for one in judgements if one.turn == turn])
        found |= {name.replace("score", f"turn_{turn}"): mean for name, mean in of_turn.items()}
    return dict(sorted(found.items(), key=lambda one: one[0].startswith("fastchat")))


def _means(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Return the mean of the strict grades and of FastChat's, without those that there are none of."""
    readings = {
        "score": [one.grade for one in judgements],
        "fastchat_score": [one.fastchat_grade for one in judgements],
    }
    graded = {name: [one for one in own if one is not None] for name, own in readings.items()}
    return {name: fmean(own) for name, own in graded.items() if own}
