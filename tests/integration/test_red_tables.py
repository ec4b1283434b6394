"""A cell of every table of the RED paper runs on a tiny model, and the table is laid out with its numbers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pedro_bench
from pedro_bench.__main__ import main
from pedro_bench.cli.tables import tables
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.nn.task_head import TaskHead
from pedro_bench.protocols.settings import build_group

ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 4096,
}
SMALL: Mapping[str, Mapping[str, int]] = {
    "roberta_base": ENCODER,
    "roberta_large": ENCODER,
    "gpt2_medium": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 4096},
    "t5_base": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "vocab_size": 4096,
    },
    "llama2_7b": {**ENCODER, "num_key_value_heads": 4},
}
"""Backbone -> what makes its architecture tiny, under its own name: so its rates and its rows apply."""

CELLS = {
    "red_table1": ("roberta_base", "red", "mrpc", "acc", 89.2),
    "red_table2": ("gpt2_medium", "lora_red_gpt2", "e2e", "bleu", 67.43),
    "red_table3": ("t5_base", "red", "mrpc", "acc", 91.7),
    "red_table4": ("llama2_7b", "lora_red", "ultrafeedback", "rouge_l", None),
    "red_table5": ("gpt2_medium", "adapter_ffn", "e2e", "rouge_l", 66.39),
    "red_table6": ("roberta_large", "red_no_bias", "mrpc", "acc", 75.8),
    "red_table7": ("roberta_large", "red_attention", "mrpc", "acc", 88.9),
}
"""Table -> backbone, method, task, metric, and the number of that cell (Table 4 has another metric)."""


def pairs(number: int) -> dict[str, Any]:
    texts = {"sentence1": f"Ana saw {number} dogs.", "sentence2": f"{number} dogs were seen."}
    return {**texts, "label": number % 2, "idx": number}


def facts(number: int) -> dict[str, Any]:
    return {"mr": f"name[Inn {number}], food[Thai]", "ref": f"Inn {number} has Thai food."}


def rated(number: int) -> dict[str, Any]:
    asked = f"Name number {number}."
    turns = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": f"It is {number}."},
    ]
    return {"prompt": asked, "chosen": turns}


DATA: Mapping[str, tuple[Callable[[int], dict[str, Any]], Mapping[str, int]]] = {
    "mrpc": (pairs, {"train": 40, "validation": 20}),
    "e2e": (facts, {"train": 40, "validation": 4, "test": 4}),
    "ultrafeedback": (rated, {"train_sft": 1010, "test_sft": 4}),
}
"""Task -> what makes a row, and the rows of each file; 1,000 train rows of UltraFeedback are dev."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for task, (row, files) in DATA.items():
        (root / task).mkdir()
        for at, (split, count) in enumerate(files.items()):
            rows = (json.dumps(row(1_000_000 * at + number)) for number in range(count))
            (root / task / f"{split}.jsonl").write_text("".join(f"{one}\n" for one in rows))
    return root


def run(name: str, data: Path, place: Path) -> None:
    """Train one cell of a table for two steps."""
    backbone, method, task, *_ = CELLS[name]
    small = [f"backbone.architecture.{key}={value}" for key, value in SMALL[backbone].items()]
    chosen = [f"method={method}", f"task={task}", f"backbone={backbone}", "seeds=[0]"]
    weights = ["backbone.random_weights=true", "backbone.dtype=float32", *small]
    short = ["trainer.max_steps=2", "trainer.eval_rows=4", "task.max_new_tokens=2", "workers=1"]
    if task == "ultrafeedback":
        short.append("evaluation.test_rows=4")
    places = [f"results_dir={place}", f"output_dir={place / 'outputs'}"]
    files = ["data=files", f"data.root={data}"]
    grid = ["-m", f"+experiment={name}", *chosen, *weights, *short, *files, *places]
    assert main(grid) == 0


def test_an_encoder_is_trained_with_the_head_of_reds_code(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []

    class Told(TaskHead):
        def __init__(self, *given: Any, **settings: Any) -> None:
            super().__init__(*given, **settings)
            heads.append(self)

    monkeypatch.setattr("pedro_bench.nn.adapted_model.TaskHead", Told)
    run("red_table1", data, tmp_path)
    trained = heads[-1]
    assert trained.dropout == 0.5
    # PyTorch's start has biases, and weights far above Transformers' deviation of 0.02.
    assert trained.out_proj.bias.detach().abs().max() > 0.01
    assert trained.dense.weight.detach().std() > 0.05
    (record,) = (tmp_path / "runs" / "red_table1").glob("*.json")
    labels_as_the_run_did(record)


def labels_as_the_run_did(path: Path) -> None:
    record = json.loads(path.read_text())
    loaded = pedro_bench.load(path)
    task, source = (build_group(name, record["config"][name]) for name in ("task", "data"))
    examples = load_splits(task, source).test.examples
    texts = [tuple(part.text for part in one.parts if not part.is_template) for one in examples]
    lines = (path.parent / record["predictions"]["path"]).read_text().splitlines()
    found = loaded.label(texts, batch_size=3)
    assert found == [json.loads(line)["text"] for line in lines]
    assert set(found) <= {"yes", "no"}
    bank = pedro_bench.serve({"anna": path, "ben": path})
    requests = [(("anna", "ben")[row % 2], pair) for row, pair in enumerate(texts)]
    assert bank.label(requests, batch_size=3) == found
    bank.close()
    for wrong, message in (
        (
            [texts[0][0]],
            r"texts\[0\] must be a tuple of 2 texts \(sentence1, sentence2\), got 'Ana",
        ),
        ("one", r"texts must be"),
        ([texts[0], ("a", 1)], r"texts\[1\] must be a tuple of 2 texts"),
    ):
        with pytest.raises(ConfigError, match=message):
            loaded.label(wrong)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=r"texts\[1\] must fit into 256 tokens, got \d+: shorten it"
    ):
        loaded.label([texts[0], ("cat " * 400, "dog")])


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_the_table_is_trained_and_laid_out(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, method, task, metric, published = CELLS[name]
    run(name, data, tmp_path)
    (file,) = (tmp_path / "runs" / name).glob("*.json")
    record = json.loads(file.read_text())
    assert (record["status"], record["backbone"], record["method"]) == (
        "finished",
        backbone,
        method,
    )
    assert tables([f"table={name}", f"results_dir={tmp_path}"]) == 0
    capsys.readouterr()
    (page,) = (tmp_path / "tables").glob(f"{name}*.csv")
    cells = pd.read_csv(page)
    ours = cells[(cells.method == method) & (cells.task == task) & (cells.metric == metric)]
    assert ours["seeds"].tolist() == [1]
    assert ours["median"].item() == pytest.approx(record["metrics"]["test"][metric], abs=1e-6)
    text = page.with_suffix(".md").read_text()
    if published is None:
        assert "81.48" in text, "AlpacaEval's win rate, which stands beside"
        return
    assert ours["published"].item() == published
    assert "Not by the paper's protocol" in text
    assert pd.isna(ours["difference_from_published"].item()), "a tiny model is not compared"
    assert ("± is the paper's standard deviation" in text) == (name in ("red_table1", "red_table2"))
