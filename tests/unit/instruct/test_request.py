"""Requests: what is missing, what means nothing in a suite, what is outside its range."""

import pytest

from pedro_bench.errors import ConfigError
from pedro_bench.instruct.request import DEFAULTS, request_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MMLU = {"run": "r.json", "suite": "mmlu", "data.root": "data"}
JUDGED = {"run": "r.json", "suite": "mt_bench", "data.root": "data", "judge.model": "judge"}


def ask(**values):
    return request_of({**DEFAULTS, **values})


def test_defaults():
    request = ask(**MMLU, tasks="anatomy")
    assert (request.judge, request.tasks, request.root) == (None, ("anatomy",), "data")
    judge = ask(**JUDGED).judge
    assert judge.moving() == {"model": "judge", "temperature": 0.0, "max_tokens": 2048}
    hub = ask(run="r.json", suite="mmlu", data="hub")
    assert (hub.root, len(hub.revision)) == (None, 40)
    gsm8k = ask(**{**MMLU, "suite": "gsm8k", "max_new_tokens": 4})
    assert (gsm8k.suite, gsm8k.max_new_tokens) == ("gsm8k", 4)
    assert (
        ask(run="r.json", suite="bbh", data="hub", **{"data.revision": COMMIT}).revision == COMMIT
    )


@pytest.mark.parametrize(
    ("run", "given", "folder"),
    [
        ("results/runs/main/r.json", None, "results"),
        ("anew/runs/main/r.json", None, "anew"),
        ("/far/anew/runs/main/r.json", None, "/far/anew"),
        ("anew/runs/main/r.json", "other", "other"),
        ("runs/main/r.json", None, "."),
        ("outputs/main/r", None, "results"),
        ("r.json", None, "results"),
    ],
)
def test_an_evaluation_goes_where_its_run_is(run, given, folder):
    """That of a run under `results_dir=anew` went to `results`, and no table of `anew` had it."""
    assert ask(**{**MMLU, "run": run, "results_dir": given}).results_dir == folder


def test_a_record_that_is_named_from_its_own_folder(tmp_path, monkeypatch):
    own = tmp_path / "anew" / "runs" / "main"
    own.mkdir(parents=True)
    monkeypatch.chdir(own)
    assert ask(**MMLU).results_dir == str(tmp_path / "anew")
    assert ask(**{**MMLU, "run": "../main/r.json"}).results_dir == str(tmp_path / "anew")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**MMLU, "run": None}, r"run must be the record of a finished run, got None"),
        ({**MMLU, "device": 0}, r"device must be auto, cpu, cuda or cuda:N, got 0\."),
        ({**MMLU, "device": "1"}, r"device must be auto, cpu, cuda or cuda:N, got '1'"),
        ({**MMLU, "suite": "mmul"}, r"suite must be .* got 'mmul'. Did you mean 'mmlu'"),
        ({**MMLU, "data": "micro"}, r"data must be one of the known words, got 'micro'"),
        ({**MMLU, "data.root": None}, r"data.root must be the folder that holds mmlu/, got None"),
        ({**MMLU, "data.revision": COMMIT}, r"data.revision must be left out with data=files"),
        ({**MMLU, "data": "hub"}, r"data.root must be left out with data=hub"),
        (
            {**MMLU, "evaluation.num_beams": 3},
            r"evaluation.num_beams must be left out with suite=mmlu, .* got 3",
        ),
        ({**MMLU, "judge.model": "j"}, r"judge.model must be left out with suite=mmlu"),
        ({**MMLU, "suite": "arc", "tasks": ["a"]}, r"tasks must be left out with suite=arc"),
        (
            {**MMLU, "suite": "hellaswag", "max_new_tokens": 4},
            r"max_new_tokens must be left out with suite=hellaswag",
        ),
        (
            {**MMLU, "suite": "gsm8k", "judge.model": "j"},
            r"judge.model must be left out with suite",
        ),
        ({**JUDGED, "tasks": ["a"]}, r"tasks must be left out with suite=mt_bench"),
        ({**JUDGED, "judge.model": None}, r"judge.model must name the judge model .*, got null"),
        ({**JUDGED, "judge.model": " "}, r"judge.model must be a text, not empty, got ' '"),
        ({**JUDGED, "judge.temperature": -1}, r"judge.temperature must be .* got -1"),
        ({**JUDGED, "judge.concurrency": 0}, r"judge.concurrency must be .* got 0"),
        ({**JUDGED, "judge.max_requests": 1.5}, r"judge.max_requests must be .* got 1.5"),
        ({**JUDGED, "judge.timeout_seconds": 0}, r"judge.timeout_seconds must be .* got 0"),
        ({**MMLU, "limit": 0}, r"limit must be a whole number of at least 1 or null, got 0"),
        ({**MMLU, "tasks": []}, r"tasks must list distinct names, at least one, got \[\]"),
        ({**MMLU, "tasks": ["a", "a"]}, r"tasks must list distinct names"),
        ({**MMLU, "rerun": "yes"}, r"rerun must be true or false, got 'yes'"),
        (
            {"run": "r.json", "suite": "mt_bench", "data": "hub", "judge.model": "j"},
            r"data.revision must be a full commit .* got None: give data.revision=<commit of Hug",
        ),
        (
            {"run": "r.json", "suite": "bbh", "data": "hub", "data.revision": "main"},
            r"data.revision must be a full commit .* got 'main'",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(values, message):
    with pytest.raises(ConfigError, match=message):
        ask(**values)
