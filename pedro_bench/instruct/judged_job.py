"""Jobs of suites that a judge grades: a run answers the questions, a model judges the answers.

Answers have a key of their own, without the judge, so another judge grades the same answers; once they are
finished no model is loaded any more.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pedro_bench.data.chat import NONE
from pedro_bench.errors import JudgingError
from pedro_bench.instruct.answers import answer_all, answer_notes, answer_rows, read_answers
from pedro_bench.instruct.contexts import Contexts, Conversation, context_length, template_of
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
from pedro_bench.instruct.questions import Question
from pedro_bench.instruct.record import file_path, write_rows
from pedro_bench.instruct.request import Request, fingerprint
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.runs import load

_ANSWERS, _JUDGEMENTS = "answers", "judgements"
_MOST_NEW_TOKENS = 1024


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


def outcome_from(
    judgements: Sequence[Judgement],
    answers: Sequence[Mapping[str, Any]],
    *,
    form: str,
    word: str,
    counted: str,
    means: Callable[[Sequence[Judgement]], dict[str, float]],
    row: Callable[[Judgement], dict[str, Any]],
    notes: Sequence[str],
) -> Outcome:
    """Put settled judgements together: metrics over all and over each category, and a row for each.

    Args:
        judgements: Of all answers.
        answers: Rows of the answers.
        form: What the judge must do, for the error where it never did.
        word: What it gives.
        counted: Name of the number of judgements with a grade in a part.
        means: Metrics of some judgements.
        row: What stands in a judgement's row beside its place, question and replies.
        notes: Sentences a reader should know of the judgements.

    Raises:
        JudgingError: If none has a grade.
    """
    if num_graded(judgements) == 0:
        raise JudgingError(
            f"the judge must {form}, got {len(judgements)} judgements without a {word}: look at its "
            "answers in the journal and choose another judge.model."
        )
    parts = {}
    for category in dict.fromkeys(one.question.category for one in judgements):
        own = [one for one in judgements if one.question.category == category]
        parts[category] = {**means(own), counted: num_graded(own), "rows": len(own)}
    rows = [
        {
            "index": number,
            "question_id": one.question.question_id,
            **row(one),
            "replies": one.replies,
        }
        for number, one in enumerate(judgements)
    ]
    shortened = sum(one["shortened"] for one in answers)
    kept = {_ANSWERS: answers, _JUDGEMENTS: rows}
    return Outcome(means(judgements), parts, kept, [*notes, *answer_notes(answers)], shortened)


def num_graded(judgements: Sequence[Judgement]) -> int:
    """Return how many have a grade."""
    return sum(one.grade is not None for one in judgements)


def judges_named(judgements: Sequence[Judgement]) -> list[str]:
    """Return a sentence on the models that the judge's replies name, nothing where they name none."""
    models = [reply.get("model") for one in judgements for reply in one.replies]
    named = sorted({one for one in models if isinstance(one, str)})
    return [f"The judge's replies name the model {', '.join(named)}."] if named else []
