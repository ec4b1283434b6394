"""lm-evaluation-harness with `peft=DIR` scores as this package's own evaluation does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from transformers import dynamic_module_utils

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import ContextError
from pedro_bench.instruct.contexts import Contexts
from pedro_bench.instruct.harness_model import AdaptedLM
from pedro_bench.integrations import lm_eval as taught
from pedro_bench.integrations.peft import remote_code
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import make_tokenizer, save_tiny
from tests.unit.integrations.peft_types import PROMPTED, TYPES, config_of, method_of, model_of, move

PAIRS = [
    ("where is the cat", " on the mat"),
    ("where is the cat", " on"),
    ("where is the cat", " in"),
    ("where is the cat on", " the"),  # the ids of the first pair's beginning, cut elsewhere
    ("where is", " the cat on the mat"),
    ("is the film good", " yes"),
    ("is the film good", " not very good"),
]


def requests(kind: str, texts: list[Any]) -> list[Instance]:
    return [Instance(kind, {}, text, number) for number, text in enumerate(texts)]


def harness(folder: Path, adapter: Path, **options: Any) -> Any:
    settings = {"pretrained": str(folder), "peft": str(adapter), "device": "cpu", **options}
    written = ",".join(f"{name}={value}" for name, value in settings.items())
    return get_model("hf").create_from_arg_string(f"{written},add_bos_token=True,max_length=64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with as many embeddings as tokens, to which the harness cuts a model with an adapter."""
    size = len(make_tokenizer())
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny", vocab_size=size)


@pytest.fixture
def saved(tmp_path: Path, folder: Path) -> Any:
    """A function that saves an adapter of a type, and returns its folder and this package's model."""

    def save(kind: str) -> Any:
        torch.manual_seed(0)
        backbone = Pretrained(name="tiny", label="tiny", path=str(folder)).load(device="cpu")
        adapted = AdaptedModel(backbone, method_of(kind))
        move(adapted.adapter.parameters())
        wrapped = peft.get_peft_model(model_of(folder), config_of(kind))
        wrapped.base_model.layer.adapters["default"].load_state_dict(adapted.adapter_state())
        wrapped.save_pretrained(tmp_path / kind)
        return tmp_path / kind, adapted.eval()

    return save


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("kind", TYPES)
def test_scores_and_texts(kind: str, batch_size: int, saved: Any, folder: Path) -> None:
    adapter, adapted = saved(kind)
    lm = harness(folder, adapter, batch_size=batch_size)
    own = AdaptedLM(adapted, Contexts(adapted.backbone.tokenizer, 64), batch_size=4)
    found = lm.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)
    expected = own.loglikelihood(requests("loglikelihood", PAIRS))
    assert [score for score, _ in found] == pytest.approx(
        [score for score, _ in expected], abs=1e-4
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    asked = [(context, {"until": ["cat"], "max_gen_toks": 8}) for context, _ in PAIRS[::3]]
    texts = lm.generate_until(requests("generate_until", asked), disable_tqdm=True)
    assert texts == own.generate_until(requests("generate_until", asked))
    if kind in PROMPTED:
        with pytest.raises(ContextError, match="got a whole text"):
            lm.loglikelihood_rolling(requests("loglikelihood_rolling", [("the cat",)]))


def test_plain_lm_eval_scores_what_transformers_loads(
    saved: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lm_eval --model hf --model_args pretrained=DIR,trust_remote_code=True`: the class that it makes."""
    adapter, adapted = saved("PEDRO")
    wrapped = peft.PeftModel.from_pretrained(model_of(folder), adapter)
    remote_code.save(wrapped, adapted.backbone.tokenizer, tmp_path / "export")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    settings = f"pretrained={tmp_path / 'export'},trust_remote_code=True,device=cpu"
    lm = get_model("hf").create_from_arg_string(f"{settings},add_bos_token=True,max_length=64")
    own = AdaptedLM(adapted, Contexts(adapted.backbone.tokenizer, 64), batch_size=4)
    found = lm.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)
    expected = own.loglikelihood(requests("loglikelihood", PAIRS))
    assert [score for score, _ in found] == pytest.approx(
        [score for score, _ in expected], abs=1e-4
    )


def test_rows_with_two_boundaries_are_scored_apart() -> None:
    pairs = [("", [1, 2], [3, 4]), ("", [1], [2, 3, 4]), ("", [1, 2], [3, 5]), ("", [1, 0], [0, 7])]
    rounds = taught.in_rounds(pairs, max_length=8)
    assert [places for places, _ in rounds] == [[0, 2, 3], [1]]
    assert rounds[0][1] == {(1, 2, 3): 2, (1,): 2}
    assert rounds[1][1] == {(1, 2, 3): 1}
    assert taught.in_rounds(pairs[:1], max_length=2)[0][1] == {(2, 3): 1}
    with pytest.raises(ContextError, match="room for a context, got 1"):
        taught.in_rounds(pairs[1:2], max_length=1)


def test_a_harness_that_was_not_taught_is_refused(
    saved: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, _ = saved("PEDRO")
    lm = harness(folder, adapter, batch_size=1)
    for name, original in (
        ("_loglikelihood_tokens", taught._score_tokens),
        ("_model_call", taught._call),
    ):
        monkeypatch.setattr(taught.HFLM, name, original)
    monkeypatch.delattr(taught.HFLM, taught.TAUGHT)
    with pytest.raises(ContextError, match="import pedro_bench.integrations.lm_eval"):
        lm.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a process of its own that imports all the libraries
@pytest.mark.parametrize("program", ["lm_eval", "pedro_bench.integrations.lm_eval"])
def test_the_command(program: str, saved: Any, folder: Path, tmp_path: Path) -> None:
    """The harness's own command on a task of one's own; plain, on what Transformers loads."""
    adapter, adapted = saved("PEDRO")
    rows = [
        {"question": "where is the cat", "choices": ["on the mat", "in Oslo"], "label": 0},
        {"question": "who likes the film", "choices": ["Ana", "Ben"], "label": 1},
        {"question": "is the box red", "choices": ["yes", "no"], "label": 1},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        "doc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: label\n"
        "metric_list: [{metric: acc}]\n"
    )
    model = f"pretrained={folder},peft={adapter}"
    if program == "lm_eval":
        wrapped = peft.PeftModel.from_pretrained(model_of(folder), adapter)
        remote_code.save(wrapped, adapted.backbone.tokenizer, tmp_path / "export")
        model = f"pretrained={tmp_path / 'export'},trust_remote_code=True"
    model += ",add_bos_token=True,max_length=64"
    command = [sys.executable, "-m", program, "--model", "hf", "--model_args", model]
    command += ["--tasks", "mine"]
    command += ["--include_path", str(tmp_path / "tasks"), "--device", "cpu", "--batch_size", "2"]
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (samples,) = (tmp_path / "out").rglob("samples_mine_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    own = AdaptedLM(adapted, Contexts(adapted.backbone.tokenizer, 64), batch_size=4)
    for line, row in zip(sorted(lines, key=lambda one: one["doc_id"]), rows, strict=True):
        pairs = [(row["question"], f" {choice}") for choice in row["choices"]]
        expected = [score for score, _ in own.loglikelihood(requests("loglikelihood", pairs))]
        assert [float(one[0][0]) for one in line["resps"]] == pytest.approx(expected, abs=1e-4)
        best = expected.index(max(expected))
        assert line["acc"] == float(best == row["label"])
