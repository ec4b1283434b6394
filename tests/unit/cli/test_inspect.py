import json
import re
import shutil

import pytest

from pedro_bench.cli.command import guarded
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.inspect import inspect, inspect_task
from pedro_bench.data.files import FilesSource
from pedro_bench.data.splits import load_splits
from pedro_bench.data.text_pairs import encode_pairs


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


def test_an_encoder_is_shown_the_texts_that_its_run_reads(capsys, tiny_folders):
    chosen = ["task=rte", "backbone=causal_lm", f"backbone.path={tiny_folders['bert']}"]
    assert inspect([*chosen, "output=json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    settings = settings_of(chosen)
    backbone = settings.backbone.load(device="cpu")
    examples = load_splits(settings.task, settings.data).train.examples
    own = encode_pairs(backbone.tokenizer, examples, settings.task.head, max_length=512).encoded
    assert seen["tokens"]["train"]["prompt"]["max"] == max(len(row.prompt_ids) for row in own)
    assert seen["tokens"]["train"]["answer"]["max"] == 0
    assert len(seen["example"]["prompt"].splitlines()) == 2
    assert guarded(inspect, ["task=squad", *chosen[1:]]) == 2
    assert "task must be classification or regression" in capsys.readouterr().err
    assert inspect(chosen) == 0
    assert "answer mean" not in capsys.readouterr().out


def test_bad_arguments(capsys):
    assert guarded(inspect, ["tokens=maybe"]) == 2
    assert "tokens must be true or false, got 'maybe'" in capsys.readouterr().err
    assert guarded(inspect, ["data=files", "tokens=false"]) == 2
    assert "data.root" in capsys.readouterr().err


@pytest.fixture
def squad_source(tmp_path):
    folder = tmp_path / "squad"
    folder.mkdir()
    for name, count in {"train": 8, "dev": 4}.items():
        rows = [
            {
                "context": f"{name} {number} says that " + "the cat sat on the mat " * number,
                "question": "who sat?",
                "answers": ["the cat"],
            }
            for number in range(1, count + 1)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    return FilesSource(name="files", root=str(tmp_path))


@pytest.fixture
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")


def test_without_a_tokenizer(squad_source, make_task):
    told = inspect_task(make_task("squad"), squad_source, None, 2048)
    assert {name: part["rows"] for name, part in told["splits"].items()} == {
        "train": 6,
        "dev": 2,
        "test": 4,
    }
    assert all(len(part["fingerprint"]) == 64 for part in told["splits"].values())
    assert told["example"]["prompt"].endswith(
        "\nQuestion: who sat?\nAnswer with words from the text:"
    )
    assert told["example"]["answer"] == "the cat"
    assert told["tokens"] is None
    assert told["notes"] == [
        "dev has 2 rows, a quarter of the 8 usable train rows, instead of 1000."
    ]
    assert json.loads(json.dumps(told)) == told


def test_token_lengths_and_what_truncation_touches(squad_source, make_task, tokenizer):
    task = make_task("squad", max_new_tokens=4)
    told = inspect_task(task, squad_source, tokenizer, 2048)["tokens"]["test"]
    # 4 words before the repeated 6, then 9 of question and instruction
    assert told["prompt"] == {"mean": 28.0, "median": 25, "p95": 37, "max": 37}
    assert told["answer"] == {"mean": 3.0, "median": 3, "p95": 3, "max": 3}
    assert (told["truncated"], told["lost_answers"]) == (0, 0)
    cut = inspect_task(task, squad_source, tokenizer, 30)["tokens"]["test"]
    assert (cut["truncated"], cut["lost_answers"]) == (2, 0)
    assert cut["prompt"] == told["prompt"], "lengths before any cut"
    assert (cut["truncated_rows"], cut["tokens_cut"]) == ([2, 3], 5 + 11)
    assert cut["histogram"] == [
        {"most": 16, "rows": 0},
        {"most": 32, "rows": 2},
        {"most": 64, "rows": 2},
    ]
    short = inspect_task(task, squad_source, tokenizer, 18)["tokens"]["test"]
    assert (short["truncated"], short["lost_answers"]) == (4, 4)
