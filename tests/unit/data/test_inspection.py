import json

import pytest

from pedro_bench.data.files import FilesSource
from pedro_bench.data.inspection import inspect_task


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
