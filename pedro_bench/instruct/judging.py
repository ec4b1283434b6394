"""Judging: every answer graded, a bounded number of requests at once and in all, resumable.

Each request is written to the journal before it is sent and its outcome when it has come, so the cap on
requests holds over interruptions, and no judgement that came back is paid for twice. A judge that is
busy is asked again after a growing wait. A judgement without a grade is asked for again a few times,
then counted as ungraded; every raw answer is kept.
"""

import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pedro_bench.errors import JudgingError
from pedro_bench.instruct.grades import fastchat_grade, grade_of
from pedro_bench.instruct.journal import Journal
from pedro_bench.instruct.judge_client import BusyError, JudgeClient, Reply, text_of_reply
from pedro_bench.instruct.judge_prompts import MOST_UNGRADED, messages_of
from pedro_bench.instruct.questions import TURNS, Question
from pedro_bench.instruct.request import Judge

_LONGEST_WAIT = 120.0


@dataclass
class Judgement:
    """One answer and what the judge said of it.

    Attributes:
        question: The question.
        turn: 1 or 2.
        grade: The grade, or None while there is none.
        replies: Raw answers of the judge, in the order they came.
    """

    question: Question
    turn: int
    grade: float | None = None
    replies: list[Reply] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether the judge need not be asked any more."""
        return self.grade is not None or len(self.replies) >= MOST_UNGRADED

    @property
    def fastchat_grade(self) -> float | None:
        """The grade that FastChat reads from the first answer of the judge; it asks once."""
        return fastchat_grade(text_of_reply(self.replies[0])) if self.replies else None

    def take(self, reply: Reply) -> None:
        """Keep an answer of the judge."""
        self.replies.append(reply)
        self.grade = grade_of(text_of_reply(reply))


def judge_all(
    client: JudgeClient,
    judge: Judge,
    questions: Sequence[Question],
    answers: Mapping[int, Sequence[str]],
    journal: Journal,
    tell: Callable[[str], None],
) -> tuple[list[Judgement], int]:
    """Have both turns of every question judged.

    Args:
        client: Asks the judge.
        judge: Concurrency, attempts, waits and the cap.
        questions: The questions.
        answers: Question's number -> the two answers.
        journal: What an interrupted evaluation left.
        tell: Told after each judgement.

    Returns:
        Every judgement in order, and how many requests were sent in all.

    Raises:
        JudgingError: If the judge cannot be asked to the end, or the cap is reached.
    """
    judgements = {
        (one.question_id, turn): Judgement(one, turn)
        for one in questions
        for turn in range(1, TURNS + 1)
    }
    sent = 0
    for entry in journal.entries:
        sent += entry["event"] == "sent"
        if entry["event"] == "reply":
            judgements[entry["question_id"], entry["turn"]].take(entry["reply"])
    work = _Work(client, judge, answers, journal, tell, list(judgements.values()), sent)
    work.run()
    return list(judgements.values()), work.sent


class _Work:
    """Threads that take judgements off a queue until all are settled or something stops them."""

    def __init__(
        self,
        client: JudgeClient,
        judge: Judge,
        answers: Mapping[int, Sequence[str]],
        journal: Journal,
        tell: Callable[[str], None],
        judgements: Sequence[Judgement],
        sent: int,
    ) -> None:
        self.sent = sent
        self._client = client
        self._judge = judge
        self._answers = answers
        self._journal = journal
        self._tell = tell
        self._total = len(judgements)
        self._queue: queue.SimpleQueue[Judgement] = queue.SimpleQueue()
        self._left = [one for one in judgements if not one.settled]
        for one in self._left:
            self._queue.put(one)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Judge what is left.

        Raises:
            JudgingError: The first one of any thread.
        """
        count = min(self._judge.concurrency, len(self._left))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._stop.set()  # after Ctrl-C no thread sends another request
        if isinstance(self._error, JudgingError):
            left = sum(not one.settled for one in self._left)
            raise JudgingError(
                f"{str(self._error).rstrip('.')} ({self._total - left} of {self._total} judgements "
                "are done and kept)."
            )
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    judgement = self._queue.get_nowait()
                except queue.Empty:
                    return
                self._settle(judgement)
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            with self._lock:
                self._error = self._error or error
            self._stop.set()

    def _settle(self, judgement: Judgement) -> None:
        """Ask until there is a grade, or too many judgements without one."""
        number, turn = judgement.question.question_id, judgement.turn
        messages = messages_of(judgement.question, self._answers[number], turn)
        place = {"question_id": number, "turn": turn}
        while not judgement.settled and not self._stop.is_set():
            reply = self._ask(messages, place)
            if reply is None:
                return
            self._journal.append({"event": "reply", **place, "reply": reply})
            judgement.take(reply)
        with self._lock:
            settled = self._total - sum(not one.settled for one in self._left)
            self._tell(f"{settled} of {self._total} judgements")

    def _ask(self, messages: list[dict[str, str]], place: Mapping[str, int]) -> Reply | None:
        """Send a request, again where the judge is busy; None once another thread has failed."""
        wait = self._judge.backoff_seconds
        for attempt in range(1, self._judge.attempts + 1):
            self._spend(place)
            try:
                return self._client.ask(messages)
            except BusyError as error:
                self._journal.append({"event": "busy", **place, "reason": error.reason})
                if attempt == self._judge.attempts:
                    raise JudgingError(
                        f"the judge must answer within judge.attempts={attempt} tries, got "
                        f"{error.reason} at last for question {place['question_id']}, turn "
                        f"{place['turn']}: start the same command again later."
                    ) from None
                pause = max(wait * random.uniform(1.0, 1.25), error.wait_seconds or 0.0)
                wait *= 2
                if self._stop.wait(min(pause, _LONGEST_WAIT)):
                    return None
        return None

    def _spend(self, place: Mapping[str, int]) -> None:
        """Count a request before it is sent.

        Raises:
            JudgingError: If the cap is reached.
        """
        with self._lock:
            if self.sent >= self._judge.max_requests:
                raise JudgingError(
                    f"judge.max_requests must be enough for all judgements, got {self.sent} requests "
                    "sent: raise judge.max_requests to go on from there."
                )
            self.sent += 1
        self._journal.append({"event": "sent", **place})
