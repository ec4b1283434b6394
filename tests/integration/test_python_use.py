"""The Python of docs/python.md, run as it is written, but for the model's name."""

import re
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
MODEL = "HuggingFaceTB/SmolLM2-135M"


def section(title: str) -> str:
    """Return the Python blocks under a heading."""
    (_, text) = PAGE.split(f"## {title}\n", 1)
    blocks = re.findall(r"```python\n(.*?)```", text.split("\n## ", 1)[0], flags=re.DOTALL)
    assert blocks
    return "\n".join(blocks)


def test_a_method_in_ones_own_training_loop(tiny_folders):
    written = section("A method in your own training loop")
    assert written.count(f'"{MODEL}"') == 2
    torch.manual_seed(0)
    names: dict = {}
    program = written.replace(MODEL, str(tiny_folders["llama"]))
    exec(compile(program, "docs/python.md", "exec"), names)
    model, ids = names["model"], names["ids"]
    bare = model(ids, labels=ids.masked_fill(names["is_prompt"], -100)).loss  # removed: no context
    assert names["loss"] < bare - 0.5
    assert names["written"].shape[1] > names["question"].input_ids.shape[1]
    assert set(names["state"]) == set(dict(names["adapted"].adapter.state_dict()))


def test_a_tasks_scoring():
    names: dict = {}
    program = section("A task's scoring").replace(
        "pedro_bench.metric", "found = pedro_bench.metric"
    )
    exec(compile(program, "docs/python.md", "exec"), names)
    assert names["found"] == {"em": 100.0, "f1": 100.0, "f1_em": 100.0}
