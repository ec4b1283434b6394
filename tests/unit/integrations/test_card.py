"""The model card: front matter that the Hub's own reader takes, and the seeds with their interval."""

from typing import Any

import huggingface_hub
import msgspec
import pytest

from pedro_bench.analysis.run import Run
from pedro_bench.integrations.export.card import card
from pedro_bench.integrations.export.request import Base, Request

SCORES = [80.0, 82.0, 81.0, 79.0, 83.0]
CONFIG: dict[str, Any] = {
    "method": {"name": "pedro", "r": 12},
    "task": {
        "name": "boolq",
        "hub_id": "google/boolq",
        "hub_revision": "c" * 40,
        "prompt": "{passage}\nQuestion: {question}",
    },
    "data": {"name": "hub", "root": "/home/ana/data"},
    "backbone": {"name": "mine", "path": "/home/ana/models/mine"},
    "trainer": {"name": "paper", "max_length": 512},
    "results_dir": "/home/ana/results",
}


def run_of(seed: int, score: float) -> Run:
    return Run(
        key="0" * 12,
        status="finished",
        method="pedro",
        task="boolq",
        backbone="mine",
        data="hub",
        suite="main",
        seed=seed,
        raw_config=msgspec.Raw(b"{}"),
        main_metric="accuracy",
        started="2026-01-01T00:00:00+00:00",
        parameters={"trainable": 1234567},
        metrics={"test": {"accuracy": score}},
        known={"trainer.lr": 1e-4},
    )


def text_of(
    form: str,
    *,
    base: Base,
    runs: list[Run],
    target: str = "pedro_bench.methods.pedro.Pedro",
    settings: dict[str, Any] | None = None,
    **further: Any,
) -> str:
    request = Request(run="x", format=form, out="/nowhere/new", **further)
    method = {"_target_": target, "name": "pedro", "r": 12, "roles": ["query"], "lr": None}
    method |= settings or {}
    state = {"method": method, "config": CONFIG}
    return card(request, state, base, runs, seed=3, command="python -m x", is_own_type=True)


def test_a_card_of_five_seeds() -> None:
    runs = [run_of(seed, score) for seed, score in enumerate(SCORES)]
    base = Base("ana/base", "d" * 40, True)
    text = text_of("peft", base=base, runs=runs, push="ana/boolq-pedro", license="mit")
    facts = huggingface_hub.ModelCard(text).data
    assert facts.base_model == "ana/base" and facts.library_name == "peft"
    assert facts.datasets == "google/boolq" and facts.license == "mit"
    [result] = facts.eval_results
    assert (result.dataset_type, result.metric_type, result.metric_value) == (
        "google/boolq",
        "accuracy",
        81.0,
    )
    assert "| 3 (this one) | 79.00 |" in text and "| **median** | **81.00** |" in text
    assert "| 95% interval | 79.00 to 83.00 |" in text
    assert "| roles | query |" in text and "| trained parameters | 1,234,567 |" in text
    assert "import pedro_bench.integrations.peft" in text
    assert 'from_pretrained("ana/boolq-pedro")' in text and "```sh\npython -m x\n```" in text
    assert f"`ana/base` at commit `{'d' * 40}`" in text
    assert "/home/ana" not in text and "Micro results" not in text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("merged", 'AutoModelForCausalLM.from_pretrained("DIR")'),
        ("remote_code", 'AutoModelForCausalLM.from_pretrained("DIR", trust_remote_code=True)'),
        ("native", 'pedro_bench.load(folder, backbone="FOLDER OF THE BASE MODEL")'),
        ("peft", "model.active_peft_config.base_model_name_or_path"),
    ],
)
def test_a_card_without_records_and_hub(form: str, said: str) -> None:
    text = text_of(form, base=Base(None, None, False), runs=[])
    facts = huggingface_hub.ModelCard(text).data
    assert facts.base_model is None and facts.eval_results is None
    assert said in text and "`mine`, a local folder" in text
    assert "records of the run were not there" in text and "/home/ana" not in text


def test_the_card_of_an_adapter_on_the_embedded_backbone_asks_for_no_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CONFIG, "backbone", {"name": "micro", "path": "package:micro"})
    text = text_of("native", base=Base(None, None, False), runs=[])
    assert "run = pedro_bench.load(folder)" in text and "which is part of pedro_bench" in text


def test_the_card_of_a_method_of_ones_own_names_its_module() -> None:
    base = Base(None, None, False)
    own = text_of("native", base=base, runs=[], target="toy.Toy")
    assert "the module `toy`, which must be on `PYTHONPATH`" in own
    assert "PYTHONPATH" not in text_of("native", base=base, runs=[])


@pytest.mark.parametrize(
    ("form", "place", "is_told"),
    [
        ("peft", "before_prompt", True),
        ("remote_code", "before_prompt", True),
        ("native", "before_prompt", False),
        ("peft", "after_prompt", False),
    ],
)
def test_the_card_of_prompt_tuning_warns_of_padding(form: str, place: str, is_told: bool) -> None:
    """peft ignores position ids there; this package's own types of peft do not."""
    text = text_of(form, base=Base(None, None, False), runs=[], settings={"place": place})
    assert ("prompts of one length" in text) == is_told
