"""`cli.instruct` end to end: a run is trained, then evaluated on every suite from local files."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.__main__ import main
from pedro_bench.cli.command import guarded
from pedro_bench.cli.instruct import instruct
from pedro_bench.errors import RecordError
from pedro_bench.instruct.job import find_run
from pedro_bench.instruct.mt_bench import MtBenchJob
from pedro_bench.instruct.request import DEFAULTS, request_of
from tests.tiny import REPOSITORY, WORDS
from tests.unit.instruct.judge_server import KEY, Answer, JudgeServer, said

needs_harness = pytest.mark.skipif(
    find_spec("lm_eval") is None, reason="the extra `instruct` is not installed"
)

WITHOUT_TORCH = """
import sys
from pedro_bench.cli.command import guarded
from pedro_bench.cli.instruct import instruct
code = guarded(instruct, sys.argv[1:])
heavy = [one for one in ("torch", "transformers", "lm_eval", "datasets") if one in sys.modules]
sys.exit(f"imported: {heavy}" if heavy else code)
"""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_data(folder: Path) -> Path:
    """Instructions to train on, and rows of each suite in its official form."""
    answers = ("yes Ana", "no Ben", "the red box")
    rows = [
        {"instruction": f"the cat sat on {at}", "input": "", "output": answers[at % 3]}
        for at in range(40)
    ]
    write_lines(folder / "alpaca" / "train.jsonl", rows)
    for split, count in (("dev", 5), ("test", 4)):
        questions = [
            {
                "subject": subject,
                "question": f"{split} {WORDS[at]} {subject}",
                "choices": WORDS[at : at + 4],
                "label": at % 4,
            }
            for subject in ("anatomy", "virology")
            for at in range(count)
        ]
        write_lines(folder / "mmlu" / f"{split}.jsonl", questions)
    examples = [{"input": word, "target": "(A)"} for word in WORDS[:3]]
    (folder / "bbh").mkdir()
    (folder / "bbh" / "snarks.json").write_text(json.dumps({"examples": examples}))
    conversations = [
        {"question_id": 81, "category": "writing", "turns": ["the cat", "a dog"]},
        {
            "question_id": 111,
            "category": "math",
            "turns": ["where is Ana", "why"],
            "reference": ["in Oslo", "because"],
        },
    ]
    write_lines(folder / "mt_bench" / "question.jsonl", conversations)
    asked = [
        {"instruction": f"the cat {word}", "output": "in Oslo", "dataset": "koala"}
        for word in WORDS[:6]
    ]
    write_lines(folder / "alpaca_eval" / "alpaca_eval.jsonl", asked)
    return folder


@pytest.fixture(scope="module")
def trained(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and two seeds of an instruction-tuned run."""
    folder = tmp_path_factory.mktemp("trained")
    write_data(folder / "data")
    code = main(
        [
            "method=pedro",
            "method.r=4",
            "task=alpaca",
            "task.dev_rows=8",
            "task.max_new_tokens=4",
            "data=files",
            f"data.root={folder / 'data'}",
            "data.holdout=0.2",
            "backbone=causal_lm",
            f"backbone.path={tiny_folders['llama']}",
            "trainer.max_steps=2",
            "trainer.eval_every_steps=2",
            "trainer.lr=0.1",
            "evaluation.num_beams=1",
            "seeds=[0,1]",
            f"results_dir={folder / 'results'}",
            f"output_dir={folder / 'outputs'}",
        ]
    )
    assert code == 0
    return folder


def run_of(trained: Path, seed: int = 0) -> Path:
    return next((trained / "results" / "runs" / "main").glob(f"*--seed{seed}.json"))


@pytest.fixture
def arguments(trained: Path, tmp_path: Path) -> Any:
    """A function that returns the arguments of a suite, with results in a folder of the test."""

    def make(suite: str, *others: str, seed: int = 0) -> list[str]:
        return [
            f"run={run_of(trained, seed)}",
            f"suite={suite}",
            f"data.root={trained / 'data'}",
            f"results_dir={tmp_path / 'results'}",
            f"output_dir={tmp_path / 'outputs'}",
            "output=json",
            *others,
        ]

    return make


def call(arguments: list[str], capsys: Any) -> tuple[int, str, str]:
    code = guarded(instruct, arguments)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def files_in(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@needs_harness
def test_mmlu_its_repetition_and_another_seed(arguments: Any, tmp_path: Path, capsys: Any) -> None:
    chosen = "tasks=[anatomy,virology]"
    code, out, err = call(arguments("mmlu", chosen), capsys)
    assert code == 0, err
    first = json.loads(out)
    assert set(first["metrics"]) == {"accuracy", "macro_accuracy"}
    assert {name: part["rows"] for name, part in first["parts"].items()} == {
        "anatomy": 4,
        "virology": 4,
    }
    record = Path(first["record"])
    content = json.loads(record.read_text())
    lines = (record.parent / content["files"]["predictions"]["path"]).read_text().splitlines()
    right = sum(json.loads(line)["correct"] for line in lines)
    assert first["metrics"]["accuracy"] == pytest.approx(100 * right / 8)
    assert content["run"]["stem"] == run_of_stem(content)
    assert content["config"]["version"] == 1, "evaluations of other versions are not compared"
    assert files_in(tmp_path / "outputs") == []
    before = record.stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments("mmlu", chosen)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == first
    assert record.stat().st_mtime_ns == before
    code, out, _ = call(arguments("mmlu", chosen, seed=1), capsys)
    second = json.loads(out)
    assert second["key"] != first["key"]
    responses = [
        [json.loads(line)["response"] for line in predictions_of(one)] for one in (first, second)
    ]
    assert responses[0] != responses[1]


def predictions_of(shown: dict[str, Any]) -> list[str]:
    record = Path(shown["record"])
    path = json.loads(record.read_text())["files"]["predictions"]["path"]
    return (record.parent / path).read_text().splitlines()


def run_of_stem(content: dict[str, Any]) -> str:
    run = content["run"]
    return f"{run['method']}--{run['task']}--{run['backbone']}--{run['key']}--seed{run['seed']}"


@needs_harness
def test_bbh_goes_on_after_an_interruption(
    arguments: Any, tmp_path: Path, capsys: Any, trained: Path
) -> None:
    changed = arguments("bbh", "tasks=[snarks]", "max_new_tokens=6")
    code, out, err = call(changed, capsys)
    assert code == 0, err
    whole = json.loads(out)
    assert whole["metrics"]["accuracy"] == 0.0
    assert "3 of 3 responses state no answer; they count as wrong." in whole["notes"]
    record = Path(whole["record"])
    kept = record.read_text(), predictions_of(whole)
    stem = f"{run_of(trained).stem}--{whole['key']}"
    rows = [{**json.loads(line), "correct": True} for line in predictions_of(whole)]
    entry = {"task": "snarks", "accuracy": 100.0, "shortened": 0, "rows": rows}
    for row in rows:
        del row["task"]
    write_lines(tmp_path / "outputs" / "instruct" / "bbh" / f"{stem}.tasks.jsonl", [entry])
    record.unlink()
    code, out, err = call(changed, capsys)
    assert json.loads(out)["metrics"]["accuracy"] == 100.0, "the journal was not gone on from"
    code, out, err = call([*changed, "rerun=true"], capsys)
    assert json.loads(out)["metrics"]["accuracy"] == 0.0
    assert predictions_of(json.loads(out)) == kept[1]


def test_mt_bench_is_judged_and_leaves_no_secret(
    arguments: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = arguments("mt_bench", "judge.model=judge-1", "max_new_tokens=5")

    def grade(_: int, body: Any) -> Answer:
        with_reference = "reference answer" in body["messages"][1]["content"]
        return said(f"Grade: [[{8 if with_reference else 4}]] {KEY}")

    with JudgeServer(grade) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        code, out, err = call(judged, capsys)
        assert code == 0, err
        found = json.loads(out)
        strict = {"score": 6.0, "turn_1": 6.0, "turn_2": 6.0}
        assert found["metrics"] == strict | {f"fastchat_{name}": 6.0 for name in strict}
        eight = dict.fromkeys(found["metrics"], 8.0)
        assert found["parts"]["math"] == {**eight, "graded": 2, "rows": 2}
        assert len(server.requests) == 4
        again = call(judged, capsys)
        assert again[:2] == (0, out)
        assert len(server.requests) == 4
        other = arguments("mt_bench", "judge.model=judge-2", "max_new_tokens=5")
        monkeypatch.setattr("pedro_bench.instruct.judged_job.load", None)  # no model is needed
        code, second, err = call(other, capsys)
        assert code == 0, err
        assert len(server.requests) == 8
        url = server.url
    names = files_in(tmp_path / "results" / "instruct" / "mt_bench")
    assert [name.partition("/")[0] for name in names if "/" in name] == [
        "answers",
        "judgements",
        "judgements",
    ]
    assert len([name for name in names if "/" not in name]) == 2
    assert files_in(tmp_path / "outputs") == []
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for text in [*written, out, err, second, *again]:
        assert KEY not in str(text)
        assert url not in str(text)
    answers = next((tmp_path / "results").rglob("answers/*.jsonl")).read_text().splitlines()
    shown = {str(message) for one in server.requests for message in one["body"]["messages"]}
    for answer in json.loads(answers[0])["answers"]:
        assert any(repr(answer)[1:-1] in text for text in shown)


def test_a_failing_judge_ends_with_code_one_and_the_same_command_goes_on(
    arguments: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = arguments("mt_bench", "judge.model=judge-1", "max_new_tokens=5", "judge.concurrency=1")

    def refuse_later(number: int, _: Any) -> Answer:
        return said("Grade: [[5]]") if number < 3 else Answer({"error": "quota"}, status=403)

    with JudgeServer(refuse_later) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        code, out, err = call(judged, capsys)
    assert (code, out) == (1, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: the judge must take the request, got HTTP 403")
    assert last.endswith("(3 of 4 judgements are done and kept).")
    assert not list((tmp_path / "results").rglob("judgements/*"))
    with JudgeServer(lambda *_: said("Grade: [[9]]")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        code, out, _ = call(judged, capsys)
    assert code == 0
    assert json.loads(out)["metrics"]["score"] == (3 * 5 + 9) / 4
    assert len(server.requests) == 1


def test_the_key_knows_all_that_can_change_a_grade(trained: Path) -> None:
    data = trained / "other_data"
    write_lines(data / "mt_bench" / "question.jsonl", [question()])
    base = {
        **DEFAULTS,
        "run": str(run_of(trained)),
        "suite": "mt_bench",
        "data.root": str(data),
        "judge.model": "judge-1",
    }

    def key(**changes: Any) -> str:
        request = request_of({**base, **changes})
        return MtBenchJob(request, find_run(request)).key

    first = key()
    same: dict[str, Any] = {
        "judge.concurrency": 9,
        "judge.max_requests": 9,
        "judge.attempts": 2,
        "evaluation.batch_size": 3,
        "results_dir": "elsewhere",
        "max_new_tokens": 1024,
    }
    for name, value in same.items():
        assert key(**{name: value}) == first, name
    moving: dict[str, Any] = {
        "judge.model": "judge-2",
        "judge.temperature": 1.0,
        "judge.max_tokens": 10,
        "max_new_tokens": 9,
        "max_length": 99,
        "limit": 1,
        "evaluation.num_beams": 2,
        "run": str(run_of(trained, seed=1)),
    }
    found = {name: key(**{name: value}) for name, value in moving.items()}
    assert len({first, *found.values()}) == len(found) + 1
    write_lines(data / "mt_bench" / "question.jsonl", [{**question(), "turns": ["a", "c"]}])
    assert key() not in {first, *found.values()}


def question() -> dict[str, Any]:
    return {"question_id": 1, "category": "writing", "turns": ["a", "b"]}


def test_a_run_may_be_named_by_its_folder(trained: Path) -> None:
    folder = trained / "outputs" / "main" / run_of(trained).stem
    values = {
        **DEFAULTS,
        "suite": "mmlu",
        "data.root": ".",
        "results_dir": str(trained / "results"),
    }
    assert find_run(request_of({**values, "run": str(folder)})).path == run_of(trained)
    content = json.loads(run_of(trained).read_text())
    failed = trained / run_of(trained).name
    failed.write_text(json.dumps({**content, "status": "failed", "error": "broken"}))
    with pytest.raises(RecordError, match=r"must be that of a finished run, got status 'failed'"):
        find_run(request_of({**values, "run": str(failed)}))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["suite=mt_bench"], "judge.model must name the judge model"),
        (["suite=mt_bench", "judge.model=j"], "OPENAI_BASE_URL must hold the judge's address"),
        (
            ["suite=mt_bench", "judge.model=j", "data.root=/nowhere"],
            "must hold a folder 'mt_bench'",
        ),
        (
            ["suite=mt_bench", "judge.model=j", "run=absent.json"],
            "record absent.json must be that of a finished run, got none there",
        ),
        (["suite=mt_bench", "judge.modle=j"], "Did you mean 'judge.model'"),
        (["suite=mmlu", "device=gpu"], "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        (["suite=mt_bench", "judge.model=j", "output=xml"], "output must be text or json"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    arguments: Any, tmp_path: Path, others: list[str], message: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments("mmlu"), *others],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert files_in(tmp_path) == []


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="the extra `instruct` is installed")
def test_a_missing_extra_is_told_with_the_remedy(arguments: Any, capsys: Any) -> None:
    code, _, err = call(arguments("mmlu"), capsys)
    assert code == 2
    assert "install it with pip install 'pedro_bench[instruct]'" in err
