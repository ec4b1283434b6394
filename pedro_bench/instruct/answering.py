"""Answering: both turns of every question, batch by batch, journaled."""

from collections.abc import Mapping, Sequence
from typing import Any

from pedro_bench.evaluation.decoding import generate
from pedro_bench.instruct.contexts import Contexts
from pedro_bench.instruct.conversation import Render, prompt_of
from pedro_bench.instruct.job import Tell
from pedro_bench.instruct.journal import Journal
from pedro_bench.instruct.questions import TURNS, Question
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Part


def answer_all(
    adapted: AdaptedModel,
    contexts: Contexts,
    render: Render,
    questions: Sequence[Question],
    journal: Journal,
    *,
    num_beams: int,
    max_new_tokens: int,
    batch_size: int,
    tell: Tell,
) -> dict[int, list[dict[str, Any]]]:
    """Answer both turns of every question that the journal does not hold yet.

    Returns:
        Question's number -> for each turn its `answer`, whether its prompt was `shortened`, and
        whether a prompt of its batch was `misread` (`Contexts`).

    Raises:
        DataError: If a prompt does not fit beside `max_new_tokens`.
        TrainingError: If the device runs out of memory.
    """
    done: dict[int, list[dict[str, Any]]] = {one.question_id: [] for one in questions}
    for entry in journal.entries:
        done[entry["question_id"]].append(entry)
    for turn in range(TURNS):
        due = [one for one in questions if len(done[one.question_id]) == turn]
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
                num_beams=num_beams,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
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
            tell(f"turn {turn + 1}: {start + len(chosen)} of {len(due)} answers")
    return done


def _prompt(
    render: Render, question: Question, done: Mapping[int, Sequence[Mapping[str, Any]]]
) -> tuple[Part, ...]:
    said = [str(entry["answer"]) for entry in done[question.question_id]]
    return prompt_of(render, question, said)
