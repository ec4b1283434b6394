"""A run under a chat template: trained, recorded, loaded, served and judged in the same form."""

import json
from pathlib import Path
from typing import Any

import pytest

import pedro_bench
from pedro_bench.__main__ import main
from pedro_bench.cli.command import guarded
from pedro_bench.cli.instruct import instruct
from pedro_bench.runs.saved import read_saved
from tests.integration.test_instruct import write_data
from tests.unit.instruct.judge_server import JudgeServer, said

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}who : {{ m.content }} : "
    "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def folder(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and the records of one run under a template."""
    found = tmp_path_factory.mktemp("chat")
    write_data(found / "data")
    (found / "chat.jinja").write_text(TEMPLATE)
    chosen = ["method=pedro", "method.r=4", "task=alpaca", f"task.chat_template={found}/chat.jinja"]
    data = ["data=files", f"data.root={found / 'data'}", "data.holdout=0.2", "task.dev_rows=8"]
    model = ["backbone=causal_lm", f"backbone.path={tiny_folders['llama']}", "seeds=[0]"]
    short = ["trainer.max_steps=2", "trainer.eval_every_steps=2", "trainer.lr=0.1"]
    answers = ["task.max_new_tokens=4", "evaluation.num_beams=1"]
    places = [f"results_dir={found / 'results'}", f"output_dir={found / 'outputs'}"]
    assert main([*chosen, *data, *model, *short, *answers, *places]) == 0
    (found / "chat.jinja").unlink()
    return found


def record_of(folder: Path) -> Path:
    (found,) = (folder / "results" / "runs" / "main").glob("*.json")
    return found


def test_the_record_holds_the_template_and_its_prompts_are_read_again(folder: Path) -> None:
    record = json.loads(record_of(folder).read_text())
    assert record["config"]["task"]["chat_template"] == TEMPLATE
    lines = (record_of(folder).parent / record["predictions"]["path"]).read_text().splitlines()
    predicted = [json.loads(line)["text"].strip() for line in lines]
    run = pedro_bench.load(record_of(folder), device="cpu")
    examples = instructions(folder)
    prompts = [f"<s>who : {one} :" for one in examples]
    bare = [one.removeprefix("<s>") for one in prompts]
    said_again = run.generate(bare, num_beams=1, max_new_tokens=4)
    assert set(predicted) <= set(said_again)
    bank = pedro_bench.serve({"ana": record_of(folder)}, device="cpu")
    served = bank.generate([("ana", one) for one in bare], num_beams=1, max_new_tokens=4)
    assert served == said_again
    assert read_saved(record_of(folder)).state["config"]["task"]["chat_template"] == TEMPLATE


def instructions(folder: Path) -> list[str]:
    rows = (folder / "data" / "alpaca" / "train.jsonl").read_text().splitlines()
    return [json.loads(row)["instruction"] for row in rows]


def call(folder: Path, capsys: Any, *more: str) -> tuple[int, str, str]:
    places = [f"results_dir={folder / 'results'}", f"output_dir={folder / 'outputs'}"]
    own = [f"run={record_of(folder)}", f"data.root={folder / 'data'}", "output=json"]
    code = guarded(instruct, [*own, *places, *more])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_conversations_are_in_the_template_and_plain_prompts_are_refused(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    from pedro_bench.instruct import judged_job

    original = judged_job.Contexts.encode

    def spy(self: Any, texts: Any) -> Any:
        seen.extend("".join(part.text for part in text) for text in texts)
        return original(self, texts)

    monkeypatch.setattr(judged_job.Contexts, "encode", spy)
    with JudgeServer(lambda _, __: said("Grade: [[5]]")) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        code, out, err = call(folder, capsys, "suite=mt_bench", "judge.model=j", "max_new_tokens=3")
    assert code == 0, err
    record = Path(json.loads(out)["record"])
    files = json.loads(record.read_text())["files"]
    rows = (record.parent / files["answers"]["path"]).read_text().splitlines()
    answers = {row["question_id"]: row["answers"] for row in map(json.loads, rows)}
    assert "who : the cat :" in seen
    assert f"who : the cat : {answers[81][0]}</s>who : a dog :" in seen
    code, _, err = call(folder, capsys, "suite=mmlu")
    assert code == 2
    assert "must be trained without a chat template for suite=mmlu" in err


def test_a_backbone_without_a_template_is_refused(
    folder: Path, tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    model = ["backbone=causal_lm", f"backbone.path={tiny_folders['llama']}", "trainer.max_steps=2"]
    data = ["data=files", f"data.root={folder / 'data'}", "data.holdout=0.2", "task.dev_rows=8"]
    places = [f"results_dir={tmp_path / 'results'}", f"output_dir={tmp_path / 'outputs'}"]
    code = main(["task=alpaca", "task.chat_template=model", *model, *data, *places])
    assert code == 2
    assert "whose tokenizer has no chat template, got 'model'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))
