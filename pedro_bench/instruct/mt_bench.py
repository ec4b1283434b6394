"""MT-Bench of one run: two answers to each question, each graded by the judge, and their means.

Answers have a key of their own, without the judge, so another judge grades the same answers; once they are
finished no model is loaded any more.
"""

import json
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.data.chat import NONE
from pedro_bench.data.formats import numbered_lines
from pedro_bench.errors import JudgingError, RecordError
from pedro_bench.instruct.contexts import (
    MISREAD,
    Contexts,
    Conversation,
    Render,
    context_length,
    prompt_of,
    template_of,
)
from pedro_bench.instruct.job import (
    EvaluatedRun,
    Job,
    Outcome,
    Report,
    batch_size_of,
    evaluation_key,
    search_of,
)
from pedro_bench.instruct.judge_client import Endpoint, JudgeClient, endpoint_of
from pedro_bench.instruct.judging import Judgement, judge_all
from pedro_bench.instruct.questions import (
    TURNS,
    Question,
    hub_questions,
    local_questions,
    question_files,
)
from pedro_bench.instruct.record import Journal, file_path, write_rows
from pedro_bench.instruct.request import Request, fingerprint
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.protocols.task import Part
from pedro_bench.runs import load

if TYPE_CHECKING:
    from pedro_bench.nn.adapted_model import AdaptedModel


_ANSWERS, _JUDGEMENTS = "answers", "judgements"
_MOST_NEW_TOKENS = 1024
_HOW_MANY = {1: "an answer", TURNS: "two answers"}


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


def outcome_of(
    judgements: Sequence[Judgement], requests: int, answers: Sequence[Mapping[str, Any]]
) -> Outcome:
    """Put the grades together: the mean over all answers, over each turn and over each category.

    A category's part has the means of each turn too. Every mean is taken twice: of the strict grades, and of
    those that FastChat reads. All judgements are settled; `requests` were sent in all.

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
        parts[category] = {**_all_means(of_category), "graded": count, "rows": len(of_category)}
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
    notes = [*_notes(judgements, len(graded), requests), *answer_notes(answers)]
    shortened = sum(row["shortened"] for row in answers)
    kept = {"answers": answers, "judgements": rows}
    return Outcome(_all_means(judgements), parts, kept, notes, shortened)


def judges_named(judgements: Sequence[Judgement]) -> list[str]:
    """Return a sentence on the models that the judge's replies name, nothing where they name none."""
    models = [reply.get("model") for one in judgements for reply in one.replies]
    named = sorted({one for one in models if isinstance(one, str)})
    return [f"The judge's replies name the model {', '.join(named)}."] if named else []


def answer_notes(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence on what was doubtful when the rows of `answer_rows` were made."""
    notes = [MISREAD] if any(row.get("misread") for row in answers) else []
    if shortened := sum(row["shortened"] for row in answers):
        prompts = "prompt" if shortened == 1 else "prompts"
        notes.append(f"{shortened} {prompts} lost tokens at their beginning to fit the model.")
    return notes


def _notes(judgements: Sequence[Judgement], graded: int, requests: int) -> list[str]:
    referenced = sum(one.question.is_referenced(one.turn) for one in judgements)
    notes = [
        f"The judge was asked {requests} times for {len(judgements)} grades, {referenced} of them "
        "with a reference answer in view.",
        *judges_named(judgements),
    ]
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


class JudgedJob(Job):
    """Answers of one run to questions, judged by a model.

    Raises:
        PedroBenchError: If the run follows no instructions, or the questions are missing.
    """

    judgement: ClassVar[type[Judgement]] = Judgement
    """What a judgement of this suite is."""

    @abstractmethod
    def files(self, root: str) -> Sequence[Path]:
        """Return the files that hold the questions."""

    @abstractmethod
    def local(self, root: str) -> Sequence[Question]:
        """Read the questions from the files."""

    @abstractmethod
    def hub(self, revision: str) -> Sequence[Question]:
        """Read the questions from the Hub at a commit."""

    @abstractmethod
    def outcome(
        self,
        judgements: Sequence[Judgement],
        requests: int,
        answers: Sequence[Mapping[str, Any]],
    ) -> Outcome:
        """Put settled judgements together; `requests` were sent in all."""

    def __init__(self, request: Request, run: EvaluatedRun) -> None:
        self.request = request
        self.run = run
        self._render = template_of(run.record.config["task"])
        self._questions = None if request.root is None else self.local(request.root)
        self._search = search_of(request, run)
        answering = {
            "limit": request.limit,
            **self._search,
            "max_new_tokens": request.max_new_tokens or _MOST_NEW_TOKENS,
            "max_length": request.max_length,
        }
        files = () if request.root is None else self.files(request.root)
        self.data = {"fingerprint": fingerprint(request, files)}
        parts = {"suite": request.suite, "config": answering, "data": self.data}
        self._answers_key = evaluation_key(run, parts, request.device)
        assert request.judge is not None  # a request of this suite has one
        self._judge = request.judge
        self.config = {**answering, "judge": self._judge.moving()}
        parts = {**parts, "config": self.config}
        self.key = evaluation_key(run, parts, request.device)

    def make(self, record: Path, report: Report) -> Outcome:
        """Answer what is not answered yet, then have it judged."""
        endpoint = endpoint_of(os.environ)
        questions = self._all_questions()[: self.request.limit]
        place = file_path(record, _ANSWERS, self._answers_key)
        if self.request.rerun:  # the file stays as it is until the record is written anew
            rows = self._answer(questions, report)
        else:
            if not place.is_file():
                write_rows(record, place, self._answer(questions, report))
            rows = read_answers(place, questions)
        outcome = self._judged(endpoint, questions, rows, report)
        return replace(outcome, keys={_ANSWERS: self._answers_key})

    def clean(self) -> None:
        """Remove both journals."""
        for kind, key in ((_ANSWERS, self._answers_key), (_JUDGEMENTS, self.key)):
            self.remove_journal(kind, key)

    def _answer(self, questions: Sequence[Question], report: Report) -> list[dict[str, Any]]:
        """Answer every question that the journal does not hold yet and return the rows of all."""
        with self.journal(_ANSWERS, self._answers_key) as journal:
            saved = load(self.run.path, device=self.request.device)
            shape = saved.adapted.backbone.shape
            whole = context_length(shape.max_positions, self.request.max_length)
            length = tokens_left(whole, saved.adapted.method, shape, "max_length")
            template = str(self.run.record.config["task"].get("chat_template", NONE))
            entries = answer_all(
                saved.adapted,
                Contexts(saved.tokenizer, length),
                self._render if template == NONE else Conversation(saved.tokenizer, template),
                questions,
                journal,
                search=self._search,
                max_new_tokens=self.config["max_new_tokens"],
                batch_size=batch_size_of(self.request, self.run),
                report=report,
            )
            return answer_rows(questions, entries)

    def _judged(
        self,
        endpoint: Endpoint,
        questions: Sequence[Question],
        rows: Sequence[Mapping[str, Any]],
        report: Report,
    ) -> Outcome:
        answers = {row["question_id"]: row["answers"] for row in rows}
        client = JudgeClient(endpoint, self._judge)
        with self.journal(_JUDGEMENTS, self.key) as journal:
            judgements, requests = judge_all(
                client, self._judge, questions, answers, journal, report, self.judgement
            )
        return self.outcome(judgements, requests, rows)

    def _all_questions(self) -> Sequence[Question]:
        if self._questions is not None:
            return self._questions
        return self.hub(str(self.request.revision))


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
                **search,
            )
            for question, text, ids, prompt in zip(chosen, said, whole, prompts, strict=True):
                entry = {
                    "question_id": question.question_id,
                    "turn": turn + 1,
                    "answer": (text.partition(ending)[0] if ending else text).strip(),
                    "shortened": len(prompt) < len(ids),
                    "misread": contexts.misread > before,
                }
                journal.append(entry)
                done[question.question_id].append(entry)
            report(f"turn {turn + 1}: {start + len(chosen)} of {len(due)} answers")
    return done


def _prompt(
    render: Render | Conversation,
    question: Question,
    done: Mapping[int, Sequence[Mapping[str, Any]]],
) -> tuple[Part, ...]:
    said = [str(entry["answer"]) for entry in done[question.question_id]]
    return prompt_of(render, question, said)
