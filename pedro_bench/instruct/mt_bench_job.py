"""The job of MT-Bench: answers by the run, grades by the judge.

Answers have a key of their own, without the judge, so another judge grades the same answers; once they are
finished no model is loaded any more.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pedro_bench.instruct.conversation import template_of
from pedro_bench.instruct.job import Job, Outcome, Tell
from pedro_bench.instruct.judge_client import Endpoint, JudgeClient, endpoint_of
from pedro_bench.instruct.judging import judge_all
from pedro_bench.instruct.mt_bench import answer_rows, outcome_of, read_answers
from pedro_bench.instruct.plan import Run, batch_size_of, beams_of, evaluation_key
from pedro_bench.instruct.questions import Question, local_questions, question_files
from pedro_bench.instruct.record import file_path, write_rows
from pedro_bench.instruct.request import Request, fingerprint
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.runs import load

_ANSWERS, _JUDGEMENTS = "answers", "judgements"
_MOST_NEW_TOKENS = 1024


class MtBenchJob(Job):
    """MT-Bench on one run.

    Raises:
        PedroBenchError: If the run follows no instructions, or the questions are missing.
    """

    def __init__(self, request: Request, run: Run) -> None:
        self.request = request
        self.run = run
        self._render = template_of(run.record.config["task"])
        self._questions = None if request.root is None else local_questions(request.root)
        answering = {
            "limit": request.limit,
            "num_beams": beams_of(request, run),
            "max_new_tokens": request.max_new_tokens or _MOST_NEW_TOKENS,
            "max_length": request.max_length,
        }
        files = () if request.root is None else question_files(request.root)
        self.data = {"fingerprint": fingerprint(request, files)}
        parts = {"suite": request.suite, "config": answering, "data": self.data}
        self._answers_key = evaluation_key(run, parts, request.device)
        assert request.judge is not None  # a request of this suite has one
        self._judge = request.judge
        self.config = {**answering, "judge": self._judge.moving()}
        parts = {**parts, "config": self.config}
        self.key = evaluation_key(run, parts, request.device)

    def make(self, record: Path, tell: Tell) -> Outcome:
        """Answer what is not answered yet, then have it judged."""
        endpoint = endpoint_of(os.environ)
        if self.request.rerun:
            self.clean()
        questions = self._all_questions()[: self.request.limit]
        place = file_path(record, _ANSWERS, self._answers_key)
        if self.request.rerun or not place.is_file():
            self._answer(record, questions, tell)
        outcome = self._judged(endpoint, questions, read_answers(place, questions), tell)
        return replace(outcome, keys={_ANSWERS: self._answers_key})

    def clean(self) -> None:
        """Remove both journals."""
        for kind, key in ((_ANSWERS, self._answers_key), (_JUDGEMENTS, self.key)):
            self.journal_path(kind, key).unlink(missing_ok=True)

    def _answer(self, record: Path, questions: Sequence[Question], tell: Tell) -> None:
        """Answer every question and write the answers whole."""
        from pedro_bench.instruct.answering import answer_all
        from pedro_bench.instruct.contexts import Contexts, context_length

        with self.journal(_ANSWERS, self._answers_key) as journal:
            saved = load(self.run.path, device=self.request.device)
            shape = saved.adapted.backbone.shape
            whole = context_length(shape.max_positions, self.request.max_length)
            length = tokens_left(whole, saved.adapted.method, shape, "max_length")
            entries = answer_all(
                saved.adapted,
                Contexts(saved.tokenizer, length),
                self._render,
                questions,
                journal,
                num_beams=self.config["num_beams"],
                max_new_tokens=self.config["max_new_tokens"],
                batch_size=batch_size_of(self.request, self.run),
                tell=tell,
            )
            rows = answer_rows(questions, entries)
            write_rows(record, file_path(record, _ANSWERS, self._answers_key), rows)

    def _judged(
        self,
        endpoint: Endpoint,
        questions: Sequence[Question],
        rows: Sequence[Mapping[str, Any]],
        tell: Tell,
    ) -> Outcome:
        answers = {row["question_id"]: row["answers"] for row in rows}
        client = JudgeClient(endpoint, self._judge)
        with self.journal(_JUDGEMENTS, self.key) as journal:
            judgements, requests = judge_all(client, self._judge, questions, answers, journal, tell)
        return outcome_of(judgements, requests, rows)

    def _all_questions(self) -> Sequence[Question]:
        if self._questions is not None:
            return self._questions
        from pedro_bench.instruct.hub_rows import hub_questions

        return hub_questions(str(self.request.revision))
