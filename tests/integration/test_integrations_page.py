"""The recipes of docs/integrations.md, run as they are written, but for the model's name."""

import re
from pathlib import Path

import peft
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "integrations.md").read_text(encoding="utf-8")
MODEL = "HuggingFaceTB/SmolLM2-135M"


def test_the_recipe_of_peft(tiny_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    part = PAGE.split("## peft\n", 1)[1].split("\n## ", 1)[0]
    training, loading = re.findall(r"```python\n(.*?)```", part, flags=re.DOTALL)
    assert training.count(f'"{MODEL}"') == 2
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(training.replace(MODEL, str(tiny_folders["llama"])), "training", "exec"), names)
    trained = names["model"]
    assert isinstance(trained, peft.PeftModel)
    with torch.no_grad(), trained.disable_adapter():
        bare = trained(input_ids=names["ids"], labels=names["labels"]).loss
    assert names["loss"] < bare - 0.5
    again = {"torch": torch, "prompt": names["prompt"]}
    exec(compile(loading, "loading", "exec"), again)
    ids = torch.tensor([names["prompt"]])
    expected = trained.eval().generate(input_ids=ids, max_new_tokens=8)
    assert again["model"].generate(input_ids=ids, max_new_tokens=8).tolist() == expected.tolist()


def test_the_versions_on_the_page_are_those_of_this_machine():
    from importlib.metadata import version

    for package, written in re.findall(r"(peft|Transformers|TRL|harness) (\d[\d.]*\d)", PAGE):
        name = {"Transformers": "transformers", "TRL": "trl", "harness": "lm_eval"}.get(
            package, package
        )
        try:
            installed = version(name)
        except ModuleNotFoundError:
            pytest.skip(f"{name} is not installed")
        assert f"{installed}.".startswith(f"{written}."), name
