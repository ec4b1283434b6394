"""A backbone answers without training; with `backbone.adapter` as the model that peft merges."""

import json
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.cli.command import BAD_INPUT, DONE, guarded
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.score import score
from pedro_bench.runs.untrained import untrained
from tests.tiny import make_tokenizer
from tests.unit.backbones.test_adapters import checkpoint

WORDS = ["task=sst2", "backbone=causal_lm", "evaluation.test_rows=6", "evaluation.num_beams=1"]


def test_the_adapter_answers_as_the_merged_model(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    base, adapter = tiny_folders["llama"], tmp_path / "adapter"
    reference = checkpoint(base, adapter)
    reference.merge_and_unload().save_pretrained(tmp_path / "merged")
    make_tokenizer().save_pretrained(tmp_path / "merged")
    places = {
        "plain": [f"backbone.path={base}"],
        "adapter": [f"backbone.path={base}", f"backbone.adapter={adapter}"],
        "merged": [f"backbone.path={tmp_path / 'merged'}"],
    }
    said = {}
    for name, words in places.items():
        examples, found = untrained(settings_of([*WORDS, *words]), "test")
        assert len(examples) == len(found.texts) == 6
        said[name] = found.texts
    assert said["adapter"] == said["merged"] != said["plain"]
    assert guarded(score, [*WORDS, *places["adapter"], "output=json"]) == DONE
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == 6 and printed["metrics"] == dict(found.scores)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=sst2"], "predictions must be a JSONL file, got None: or name a backbone=…"),
        ([*WORDS, "split=tset"], "split must be one of the known words, got 'tset'"),
        (["task=sst2", "backbone=micro", "backbone.adapter=nowhere"], "backbone.adapter must be a"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], said: str, capsys: Any) -> None:
    assert guarded(score, words) == BAD_INPUT
    assert said in capsys.readouterr().err
