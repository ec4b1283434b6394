"""Jobs of suites that a judge grades: a run answers the questions, a model judges the answers.

Answers have a key of their own, without the judge, so another judge grades the same answers; once they are
finished no model is loaded any more.
"""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pedro_bench.data.chat import NONE
from pedro_bench.instruct.answers import answer_all, answer_rows, read_answers
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


def judges_named(judgements: Sequence[Judgement]) -> list[str]:
    """Return a sentence on the models that the judge's replies name, nothing where they name none."""
    models = [reply.get("model") for one in judgements for reply in one.replies]
    named = sorted({one for one in models if isinstance(one, str)})
    return [f"The judge's replies name the model {', '.join(named)}."] if named else []
