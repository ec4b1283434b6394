"""Judging against a real HTTP server: errors, garbage, interruptions, caps, and what is kept."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pedro_bench.errors import ConfigError, JudgingError
from pedro_bench.instruct.judge_client import BusyError, JudgeClient, endpoint_of
from pedro_bench.instruct.judging import judge_all
from pedro_bench.instruct.mt_bench import outcome_of
from pedro_bench.instruct.questions import Question
from pedro_bench.instruct.record import Journal
from pedro_bench.instruct.request import Judge
from tests.tiny import REPOSITORY
from tests.unit.instruct.judge_server import KEY, Answer, JudgeServer, said

QUESTIONS = [
    Question(81, "writing", ("Write a line.", "Now another.")),
    Question(111, "math", ("1 + 1?", "And 2 + 2?"), ("Two.", "Four.")),
    Question(121, "writing", ("Write a word.", "A shorter one.")),
]
ANSWERS = {one.question_id: [f"answer {one.question_id}.1", ""] for one in QUESTIONS}


def judge(**changes):
    settings = {"timeout_seconds": 60.0, "backoff_seconds": 0.01, "concurrency": 2, **changes}
    return Judge(model="judge-1", **settings)


def run(server, folder, told=None, questions=QUESTIONS, **changes):
    asked = judge(**changes)
    client = JudgeClient(endpoint_of(server.environment), asked)
    with Journal(folder / "judgements.jsonl") as journal:
        lines = told if told is not None else []
        return judge_all(client, asked, questions, ANSWERS, journal, lines.append)


def grade_by_length(_, body):
    """A grade from 1 to 9 that depends on the request alone."""
    return said(f"Fine. Grade: [[{1 + len(json.dumps(body)) % 9}]]")


def test_every_answer_is_graded_once(tmp_path):
    told = []
    with JudgeServer(grade_by_length) as server:
        judgements, requests = run(server, tmp_path, told)
    assert requests == len(server.requests) == 6
    assert [(one.question.question_id, one.turn) for one in judgements] == [
        (number, turn) for number in (81, 111, 121) for turn in (1, 2)
    ]
    grades = {
        json.dumps(one["body"]["messages"]): 1 + len(json.dumps(one["body"])) % 9
        for one in server.requests
    }
    assert sorted(one.grade for one in judgements) == sorted(grades.values())
    assert told[-1] == "6 of 6 judgements"
    first = server.requests[0]
    assert first["path"] == "/v1/chat/completions"
    assert first["headers"]["Authorization"] == f"Bearer {KEY}"
    assert (first["body"]["model"], first["body"]["temperature"]) == ("judge-1", 0.0)
    assert first["body"]["max_tokens"] == 2048
    assert all(one.replies[0]["usage"] == {"total_tokens": 10} for one in judgements)


def test_null_settings_are_left_out_of_the_request(tmp_path):
    with JudgeServer(grade_by_length) as server:
        run(server, tmp_path, temperature=None, max_tokens=None)
    assert set(server.requests[0]["body"]) == {"model", "messages"}


@pytest.mark.parametrize(
    "trouble",
    [
        Answer({"error": "slow down"}, status=429, Retry_After="0.05"),
        Answer({"error": "broken"}, status=500),
        Answer(b"<html>bad gateway</html>", status=502),
        Answer(b"{not json"),
        Answer({"choices": []}),
        Answer({"choices": [{"message": {"content": None}}]}),
        Answer([1, 2]),
        Answer(b'{"choices": [{"message": {"content": "[[5]]"}}], "x": NaN}'),
        Answer(b"[" * 100_000),
        Answer({}, wait=1.5),
        Answer({"choices": "a long answer that drips"}, drip=0.05),
        Answer(json.loads(said("[[3]]").content), missing=100, Connection="close"),
    ],
    ids="429 500 502 no-json no-choice no-text a-list nan nested silence dripping cut-off".split(),
)
def test_trouble_is_asked_through(tmp_path, trouble):
    """Every second request fails; the grades are those of an undisturbed judge."""
    with JudgeServer(grade_by_length) as server:
        expected, _ = run(server, tmp_path / "well")
    seen = set()

    def answer(number, body):
        key = json.dumps(body)
        if key in seen:
            return grade_by_length(number, body)
        seen.add(key)
        return trouble

    with JudgeServer(answer) as server:
        judgements, requests = run(server, tmp_path / "ill", timeout_seconds=0.6)
    assert [one.grade for one in judgements] == [one.grade for one in expected]
    assert requests == len(server.requests) == 12


def test_a_judge_that_stays_broken_ends_the_evaluation_and_keeps_what_there_is(tmp_path):
    def answer(number, body):
        broken = "1 + 1?" in body["messages"][1]["content"]
        return Answer({"error": "no"}, status=503) if broken else grade_by_length(number, body)

    with JudgeServer(answer) as server, pytest.raises(JudgingError) as caught:
        run(server, tmp_path, attempts=3, concurrency=1)
    assert caught.value.exit_code == 1
    expected = 'within judge.attempts=3 tries, got HTTP 503: {"error": "no"} at last for question'
    assert expected in str(caught.value)
    assert "2 of 6 judgements are done and kept" in str(caught.value)
    with JudgeServer(grade_by_length) as server:
        judgements, requests = run(server, tmp_path)
    assert len(server.requests) == 4
    assert requests == 2 + 3 + 4
    assert all(one.grade for one in judgements)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
def test_a_refusal_is_not_repeated(tmp_path, status):
    answer = Answer({"error": f"wrong key {KEY}"}, status=status, Location="http://127.0.0.1:1/v1")
    with JudgeServer(lambda *_: answer) as server, pytest.raises(JudgingError) as caught:
        run(server, tmp_path, concurrency=1)
    assert len(server.requests) == 1
    assert f"must take the request, got HTTP {status}" in str(caught.value)
    assert "check OPENAI_BASE_URL, OPENAI_API_KEY and judge.model" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_closed_port_is_told_without_the_address(tmp_path):
    with JudgeServer(grade_by_length) as server:
        environment = server.environment
    client = JudgeClient(endpoint_of(environment), judge())
    with pytest.raises(BusyError) as caught:
        client.ask([{"role": "user", "content": "?"}])
    assert "refused" in caught.value.reason
    assert "127.0.0.1" not in caught.value.reason


def test_garbage_is_asked_for_again_then_counted(tmp_path):
    def answer(number, body):
        if "1 + 1?" in body["messages"][1]["content"] and "2 + 2" not in str(body):
            return said("I would say [[eleven]] or [[11]].")
        return grade_by_length(number, body)

    with JudgeServer(answer) as server:
        judgements, requests = run(server, tmp_path)
    assert requests == 5 + 3
    ungraded = [one for one in judgements if one.grade is None]
    assert [(one.question.question_id, one.turn) for one in ungraded] == [(111, 1)]
    assert len(ungraded[0].replies) == 3
    assert ungraded[0].replies[0]["choices"][0]["message"]["content"].startswith("I would say")
    outcome = outcome_of(judgements, requests, [])
    graded = [one.grade for one in judgements if one.grade is not None]
    assert outcome.metrics["score"] == pytest.approx(sum(graded) / 5)
    assert outcome.parts["math"]["graded"] == 1
    assert any(note.startswith("1 answers got no grade") for note in outcome.notes)
    with JudgeServer(grade_by_length) as server:
        again, _ = run(server, tmp_path)
    assert server.requests == []
    assert [one.grade for one in again] == [one.grade for one in judgements]


def test_a_judge_without_grades_gives_no_score(tmp_path):
    with JudgeServer(lambda *_: said("no grade")) as server:
        judgements, requests = run(server, tmp_path, questions=QUESTIONS[:1])
    with pytest.raises(JudgingError, match=r"must grade in the form \[\[7\]\], got 2 judgements"):
        outcome_of(judgements, requests, [])


def test_no_more_requests_than_the_cap_over_interruptions_too(tmp_path):
    with JudgeServer(grade_by_length) as server:
        for cap, left in ((4, 4), (4, 0), (5, 1)):
            before = len(server.requests)
            with pytest.raises(JudgingError, match=rf"got {cap} requests sent: .*\({cap} of 6"):
                run(server, tmp_path, max_requests=cap, concurrency=3)
            assert len(server.requests) - before == left
        judgements, requests = run(server, tmp_path, max_requests=6)
    assert requests == len(server.requests) == 6
    assert all(one.grade for one in judgements)


def test_failed_requests_count_towards_the_cap(tmp_path):
    with (
        JudgeServer(lambda *_: Answer({}, status=500)) as server,
        pytest.raises(JudgingError, match=r"judge.max_requests must be enough .* got 5 requests"),
    ):
        run(server, tmp_path, max_requests=5, attempts=10)
    assert len(server.requests) == 5


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_at_once_than_asked(tmp_path, concurrency):
    def slowly(_, body):
        return Answer(json.loads(grade_by_length(0, body).content), wait=0.1)

    with JudgeServer(slowly) as server:
        run(server, tmp_path, concurrency=concurrency)
    assert server.most_at_once == concurrency


KILLED = """
import sys
from pathlib import Path
from tests.unit.instruct.test_judging import run
class Server:
    environment = {"OPENAI_BASE_URL": sys.argv[1], "OPENAI_API_KEY": "sk-secret-key"}
run(Server, Path(sys.argv[2]), concurrency=2)
"""


def test_a_killed_evaluation_goes_on_and_pays_for_nothing_twice(tmp_path):
    """The process is killed with SIGKILL while judgements come in, again and again."""
    answered = []

    def slowly(_, body):
        answered.append(json.dumps(body["messages"]))
        return Answer(json.loads(grade_by_length(0, body).content), wait=0.15)

    with JudgeServer(grade_by_length) as server:
        expected, _ = run(server, tmp_path / "well")
    journal = tmp_path / "judgements.jsonl"
    with JudgeServer(slowly) as server:
        for replies in (1, 3):
            process = subprocess.Popen(
                [sys.executable, "-c", KILLED, server.url, str(tmp_path)], cwd=REPOSITORY
            )
            deadline = time.monotonic() + 60
            while count_replies(journal) < replies and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
            process.wait()
        with journal.open("ab") as file:
            file.write(b'{"event": "reply", "question_id": 81, "tu')
    kept = count_replies(journal)
    # Another server: what the killed ones asked may come to the first one late.
    with JudgeServer(slowly) as last:
        judgements, requests = run(last, tmp_path)
    assert kept >= 3
    assert len(last.requests) == 6 - kept
    assert [one.grade for one in judgements] == [one.grade for one in expected]
    assert requests >= len(server.requests) + len(last.requests)


def count_replies(journal: Path) -> int:
    text = journal.read_text() if journal.is_file() else ""
    return sum('"event": "reply"' in line and line.endswith("}") for line in text.splitlines())


def test_neither_key_nor_address_is_kept(tmp_path):
    """A judge that repeats the key it was given does not get it into the journal."""

    def answer(number, body):
        if number == 0:
            return Answer({"error": f"no {KEY} at {server.url}"}, status=500)
        return said(f"Your key is {KEY}, you are at {server.url}. Grade: [[5]] \ud800")

    with JudgeServer(answer) as server:
        judgements, _ = run(server, tmp_path, questions=QUESTIONS[:1])
        content = (tmp_path / "judgements.jsonl").read_text()
        assert KEY not in content
        assert server.url not in content
        assert "127.0.0.1" not in content
    assert content.count("***") >= 3
    assert [one.grade for one in judgements] == [5.0, 5.0]
    assert "secret" not in repr(endpoint_of(server.environment))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"OPENAI_BASE_URL must hold the judge's address, .*, got none"),
        ({"OPENAI_BASE_URL": "ftp://secret"}, r"got one that is no http address"),
        ({"OPENAI_BASE_URL": "http://secret:x/v1"}, r"got one that is no http address"),
        (
            {"OPENAI_BASE_URL": "http://me:secret@host"},
            r"a plain address, got one with a user name",
        ),
        ({"OPENAI_BASE_URL": "http://h/v1?k=secret"}, r"a plain address, got one with a user name"),
        (
            {"OPENAI_BASE_URL": "http://h", "OPENAI_API_KEY": "secret\nkey"},
            r"OPENAI_API_KEY must hold one word of ASCII characters, got something else",
        ),
    ],
)
def test_a_bad_environment_is_told_without_its_value(environment, message):
    with pytest.raises(ConfigError, match=message) as caught:
        endpoint_of(environment)
    assert "secret" not in str(caught.value)


def test_without_a_key_no_header_is_sent(tmp_path):
    with JudgeServer(grade_by_length) as server:
        endpoint = endpoint_of({"OPENAI_BASE_URL": server.url + "/"})
        JudgeClient(endpoint, judge()).ask([{"role": "user", "content": "?"}])
    assert "Authorization" not in server.requests[0]["headers"]
    assert server.requests[0]["path"] == "/v1/chat/completions"
