"""A loaded run answers as its evaluation did, whichever way of decoding it had."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.errors import BackboneError, RecordError
from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.evaluation.prediction import predict
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import describe
from pedro_bench.runs.saved import read_saved
from pedro_bench.runs.saved_run import SavedRun
from tests.tiny import build_method

PROMPTS = ["a cat sat on the mat", "a good film", "a dog ran to the cat on the mat"]


class Echo:
    """A task whose answers are the generated texts."""

    max_new_tokens = 8
    ending = ""

    def extract(self, text: str, example: Any) -> str:
        return text.strip()

    def score(self, answers: Any, examples: Any) -> dict[str, float]:
        return {}


@pytest.mark.parametrize(
    ("changes", "likely_end"),
    [({"length_penalty": -3.0}, 3.0), ({"no_repeat_ngram_size": 1}, 1.0), ({"num_beams": 1}, 1.0)],
)
def test_load_generates_as_the_runs_evaluation(
    tiny_backbone: Any, changes: Any, likely_end: float
) -> None:
    with torch.no_grad():
        tiny_backbone.model.get_output_embeddings().weight[2] *= likely_end
    adapted = AdaptedModel(tiny_backbone, build_method("lora")).eval()
    answers = {}
    for name, config in {
        "plain": EvaluationConfig(name="generation"),
        "changed": EvaluationConfig(name="generation", **changes),
    }.items():
        settings = {
            "task": {"max_new_tokens": Echo.max_new_tokens},
            "trainer": {"max_length": 64},
            "evaluation": describe(config),
        }
        run = SavedRun(adapted, settings)
        answers[name] = run.generate(PROMPTS)
        prompts = _encoded(run, PROMPTS)
        found = predict(adapted, Echo(), PROMPTS, prompts, config)  # type: ignore[arg-type]
        assert answers[name] == list(found.answers)
    assert answers["plain"] != answers["changed"]


def test_a_decoder_labels_no_texts(tiny_backbone: Any) -> None:
    adapted = AdaptedModel(tiny_backbone, build_method("lora"))
    run = SavedRun(adapted, {"task": {}})
    with pytest.raises(
        BackboneError, match="label must be asked of an encoder, got backbone='tiny"
    ):
        run.label(["a"])


def _encoded(run: SavedRun, prompts: list[str]) -> Any:
    from pedro_bench.data.encoding import encode
    from pedro_bench.protocols.task import Example, Part

    examples = [Example((Part(one),), "", ("",), one) for one in prompts]
    return encode(
        run.tokenizer, examples, max_length=64, with_answers=False, max_new_tokens=8
    ).encoded


@pytest.mark.parametrize(
    "name", ["lora--boolq--micro--0--seed0.json", "lora--boolq--micro--0--seed0"]
)
def test_a_suites_folder_is_no_run(name: str, tmp_path: Path) -> None:
    """It was answered with the advice to train again."""
    (tmp_path / name).mkdir()
    with pytest.raises(RecordError, match=f"holds those of 1 runs: give one of them, .*{name}'"):
        read_saved(tmp_path)
