import json
import re
import shutil

from pedro_bench.cli.command import guarded
from pedro_bench.cli.inspect import inspect


def test_json_and_text_show_the_same_task(capsys):
    assert inspect(["task=boolq", "tokens=false", "output=json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert set(seen["splits"]) == {"train", "dev", "test"}
    assert seen["tokens"] is None
    assert seen["example"]["answer"] in ("yes", "no")
    assert inspect(["task=boolq", "tokens=false"]) == 0
    text = capsys.readouterr().out
    assert f"{seen['splits']['test']['rows']} rows" in text
    assert seen["example"]["prompt"].splitlines()[0] in text


def test_token_lengths_need_no_weights(capsys, tiny_folders, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_folders["llama"], folder)
    (folder / "model.safetensors").unlink()
    chosen = ["backbone=causal_lm", f"backbone.path={folder}", "output=json"]
    assert inspect(["task=boolq", *chosen]) == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    assert tokens["train"]["prompt"]["max"] > tokens["train"]["answer"]["max"] > 0
    assert inspect(["task=boolq", *chosen[:-1], "trainer.max_length=40"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"up to +64 +\d+ rows +#+\n", text)
    assert re.search(r"\d+ rows are longer than 40 tokens \(the first: \d+, .*answers lost", text)


def test_bad_arguments(capsys):
    assert guarded(inspect, ["tokens=maybe"]) == 2
    assert "tokens must be true or false, got 'maybe'" in capsys.readouterr().err
    assert guarded(inspect, ["data=files", "tokens=false"]) == 2
    assert "data.root" in capsys.readouterr().err
