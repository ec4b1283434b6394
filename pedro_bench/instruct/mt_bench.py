"""MT-Bench of one run: two answers to each question, each graded by the judge, and their means."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pedro_bench.instruct.job import Outcome
from pedro_bench.instruct.judged_job import JudgedJob, judges_named, num_graded, outcome_from
from pedro_bench.instruct.judging import Judgement
from pedro_bench.instruct.questions import (
    TURNS,
    Question,
    hub_questions,
    local_questions,
    question_files,
)


class MtBenchJob(JudgedJob):
    """MT-Bench on one run."""

    def files(self, root: str) -> Sequence[Path]:
        """Return the question file and that of the references."""
        return question_files(root)

    def local(self, root: str) -> Sequence[Question]:
        """Read questions and references."""
        return local_questions(root)

    def hub(self, revision: str) -> Sequence[Question]:
        """Read the Hub's questions."""
        return hub_questions(revision)

    def outcome(
        self,
        judgements: Sequence[Judgement],
        requests: int,
        answers: Sequence[Mapping[str, Any]],
    ) -> Outcome:
        """Put the grades together."""
        return outcome_of(judgements, requests, answers)


def outcome_of(
    judgements: Sequence[Judgement], requests: int, answers: Sequence[Mapping[str, Any]]
) -> Outcome:
    """Put the grades together: the mean over all answers, over each turn and over each category.

    A category's part has the means of each turn too. Every mean is taken twice: of the strict grades, and of
    those that FastChat reads. All judgements are settled; `requests` were sent in all.

    Raises:
        JudgingError: If no answer was graded at all.
    """
    return outcome_from(
        judgements,
        answers,
        form="grade in the form [[7]]",
        word="grade",
        counted="graded",
        means=_all_means,
        row=lambda one: {
            "turn": one.turn,
            "score": one.grade,
            "fastchat_score": one.fastchat_grade,
        },
        notes=_notes(judgements, requests),
    )


def _notes(judgements: Sequence[Judgement], requests: int) -> list[str]:
    referenced = sum(one.question.is_referenced(one.turn) for one in judgements)
    notes = [
        f"The judge was asked {requests} times for {len(judgements)} grades, {referenced} of them "
        "with a reference answer in view.",
        *judges_named(judgements),
    ]
    if without := len(judgements) - num_graded(judgements):
        notes.append(f"{without} answers got no grade from the judge; the means leave them out.")
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
