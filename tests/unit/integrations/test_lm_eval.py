"""lm-evaluation-harness with `peft=DIR` scores as this package's own evaluation does."""

import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

from pedro_bench.backbones.llama import Llama
from pedro_bench.errors import ContextError
from pedro_bench.instruct.contexts import Contexts
from pedro_bench.instruct.harness_model import AdaptedLM
from pedro_bench.integrations import lm_eval as taught
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
        backbone = Llama(name="tiny", label="tiny", path=str(folder)).load(device="cpu")
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
@pytest.mark.filterwarnings(
    "ignore"
)  # those of the packages that the command prints its table with
def test_the_command(
    saved: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness's own command on a task of one's own, run in this process."""
    import json
    import runpy

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
    model = f"pretrained={folder},peft={adapter},add_bos_token=True,max_length=64"
    command = ["lm_eval", "--model", "hf", "--model_args", model, "--tasks", "mine"]
    command += ["--include_path", str(tmp_path / "tasks"), "--device", "cpu", "--batch_size", "2"]
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.delitem(sys.modules, "pedro_bench.integrations.lm_eval")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pedro_bench.integrations.lm_eval", run_name="__main__")
    assert not ended.value.code
    (samples,) = (tmp_path / "out").rglob("samples_mine_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    own = AdaptedLM(adapted, Contexts(adapted.backbone.tokenizer, 64), batch_size=4)
    for line, row in zip(sorted(lines, key=lambda one: one["doc_id"]), rows, strict=True):
        pairs = [(row["question"], f" {choice}") for choice in row["choices"]]
        expected = [score for score, _ in own.loglikelihood(requests("loglikelihood", pairs))]
        assert [float(one[0][0]) for one in line["resps"]] == pytest.approx(expected, abs=1e-4)
        best = expected.index(max(expected))
        assert line["acc"] == float(best == row["label"])
