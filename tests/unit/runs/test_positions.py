"""Sequences stay within the backbone's positions; virtual tokens, prompt and answer count together."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pedro_bench
from pedro_bench.backbones.shapes import position_limit
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.evaluation.batches import check_positions
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.grid import run
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.runs.untrained import untrained
from tests.tiny import build_method, save_tiny

POSITIONS = 40


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A tiny backbone of few positions."""
    return save_tiny(tmp_path / "short", max_position_embeddings=POSITIONS)


@pytest.fixture
def settings(short: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function that gives settings on texts of 3 to 90 words."""
    folder = tmp_path / "data" / "boolq"
    folder.mkdir(parents=True)
    for name, count in (("train", 12), ("validation", 8)):
        rows = [
            {
                "passage": f"film {i} " + "good " * (1 + 8 * i),
                "question": "who likes",
                "answer": i % 2,
            }
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(*overrides: str) -> Any:
        return settings_of(
            [
                "task=boolq",
                "data=files",
                f"data.root={folder.parent}",
                "backbone=causal_lm",
                f"backbone.path={short}",
                "trainer.max_steps=2",
                "trainer.eval_every_steps=1",
                "seeds=[0]",
                f"results_dir={tmp_path / 'results'}",
                f"output_dir={tmp_path / 'outputs'}",
                *overrides,
            ]
        )

    return make


@pytest.mark.parametrize(
    ("method", "beams"),
    [("prompt_tuning", 1), ("prompt_tuning", 3), ("lpt", 1), ("prefix_tuning", 3), ("lora", 3)],
)
def test_no_position_beyond_the_limit_is_ever_used(
    settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, method: str, beams: int
) -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    seen = [0]
    plain = LlamaRotaryEmbedding.forward

    def watched(self: Any, x: Any, position_ids: Any, *rest: Any, **others: Any) -> Any:
        seen.append(int(position_ids.max()))
        return plain(self, x, position_ids, *rest, **others)

    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", watched)
    virtual = [] if method == "lora" else ["method.num_virtual_tokens=10"]
    chosen = settings(f"method={method}", *virtual, f"evaluation.num_beams={beams}")
    (record,) = run(chosen)
    assert record["status"] == "finished", record["error"]
    left = POSITIONS - (10 if virtual else 0)
    assert chosen.max_tokens == left
    assert max(seen) < POSITIONS
    assert max(seen) > POSITIONS - chosen.task.max_new_tokens - 3, "the limit is reached"
    notes = " ".join(record["notes"])
    assert f"The backbone has {POSITIONS} positions, fewer than trainer.max_length=512" in notes
    assert record["max_tokens"] == left
    assert record["splits"]["train"]["shortened"] > 0


@pytest.mark.parametrize("num_virtual_tokens", [POSITIONS, POSITIONS + 1, 400])
def test_virtual_tokens_that_leave_no_room_are_refused_before_loading(
    settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, num_virtual_tokens: int
) -> None:
    monkeypatch.setattr("pedro_bench.backbones.pretrained.Pretrained.load", None)
    chosen = settings("method=prompt_tuning", f"method.num_virtual_tokens={num_virtual_tokens}")
    with pytest.raises(
        ConfigError,
        match=rf"'prompt_tuning' must take fewer than the backbone's {POSITIONS} positions .*"
        rf"got {num_virtual_tokens}: set fewer virtual tokens",
    ):
        run(chosen)
    assert not Path(chosen.results_dir).exists()


@pytest.mark.parametrize("candidate", ["no", "no no no no no no no no no no no"])
@pytest.mark.parametrize("max_length", [POSITIONS - 3, POSITIONS, 512])
def test_candidates_longer_than_an_answer_have_positions_too(
    settings: Callable[..., Any], candidate: str, max_length: int
) -> None:
    labels = {"0": candidate, "1": "yes"}
    chosen = settings("method=lora", "evaluation=likelihood", f"trainer.max_length={max_length}")
    chosen = replace(chosen, task=replace(chosen.task, labels=labels))
    (record,) = run(chosen)
    assert record["status"] == "finished", record["error"]
    _, answered = untrained(chosen, "test")  # the backbone alone answers within them as well
    assert len(answered.texts) == record["splits"]["test"]["rows"]


def test_a_backbone_of_enough_positions_is_not_mentioned(settings: Callable[..., Any]) -> None:
    (record,) = run(settings("method=lora", f"trainer.max_length={POSITIONS}"))
    assert not any("positions" in note for note in record["notes"])


@pytest.mark.parametrize(
    ("max_length", "positions", "virtual", "left"),
    [
        (512, 2048, 0, 512),
        (512, 512, 0, 512),
        (512, 511, 0, 511),
        (512, 100, 64, 36),
        (100, 512, 64, 36),
        (512, None, 64, 448),
    ],
)
def test_the_smaller_limit_counts(
    load_tiny: Callable[..., Any],
    max_length: int,
    positions: int | None,
    virtual: int,
    left: int,
) -> None:
    method = (
        build_method("prompt_tuning", num_virtual_tokens=virtual)
        if virtual
        else build_method("lora")
    )
    shape = replace(load_tiny().shape, max_positions=positions)
    assert tokens_left(max_length, method, shape) == left


@pytest.mark.parametrize(
    ("positions", "rope", "limit"),
    [
        (4096, None, 4096),
        (None, None, None),
        (4096, {"rope_type": "default", "rope_theta": 1e4}, 4096),
        (4096, {"type": "linear", "factor": 4.0}, 16384),
        (4096, {"rope_type": "dynamic", "factor": 2.5}, 10240),
        (131072, {"rope_type": "llama3", "factor": 8.0}, 131072),
        (
            8192,
            {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096},
            8192,
        ),
        (131072, {"full_attention": {"rope_type": "linear", "factor": 8.0}}, 131072),
    ],
)
def test_scaled_rotary_embeddings(
    positions: int | None, rope: dict[str, Any] | None, limit: int | None
) -> None:
    assert position_limit(positions, rope) == limit


@pytest.fixture
def adapted(short: Path) -> AdaptedModel:
    from pedro_bench.backbones.pretrained import Pretrained

    backbone = Pretrained(name="short", label="short", path=str(short)).load(device="cpu")
    torch.manual_seed(0)
    return AdaptedModel(backbone, build_method("prompt_tuning", num_virtual_tokens=8))


@pytest.mark.parametrize(("prompt", "new"), [(31, 2), (1, 32), (30, 30)])
def test_what_decodes_refuses_more(adapted: AdaptedModel, prompt: int, new: int) -> None:
    """8 virtual tokens of 40 positions leave 32."""
    row = Encoded(tuple([5] * prompt), (), 0)
    with pytest.raises(
        DataError,
        match=rf"the 40 positions of backbone 'short', got {prompt + new} tokens .*and 8 virtual",
    ):
        generate(adapted, [row], num_beams=1, max_new_tokens=new, batch_size=1)
    fits = Encoded(tuple([5] * 28), (), 0)
    assert len(generate(adapted, [fits], num_beams=1, max_new_tokens=4, batch_size=1)) == 1


@pytest.mark.parametrize("answer", [3, 4, 40])
def test_what_scores_refuses_more(adapted: AdaptedModel, answer: int) -> None:
    from pedro_bench.instruct.harness_model import score_continuations

    prompt = tuple([5] * 30)
    pair = Encoded(prompt, tuple([6] * answer), 0)
    with pytest.raises(DataError, match=rf"got {30 + answer} tokens of prompt and answer and 8"):
        loglikelihood(adapted, [pair], batch_size=1)
    with pytest.raises(DataError, match=r"must fit into the 40 positions"):
        score_continuations(adapted, [(prompt, tuple([6] * answer))], batch_size=1)
    assert loglikelihood(adapted, [Encoded(prompt, (6, 2), 0)], batch_size=1)[0] < 0


def test_no_positions_no_limit(adapted: AdaptedModel) -> None:
    check_positions(adapted, 32)
    with pytest.raises(DataError, match="got 33 tokens"):
        check_positions(adapted, 33)
    adapted.backbone.shape = replace(adapted.backbone.shape, max_positions=None)
    check_positions(adapted, 10_000)


def test_a_finished_run_answers_within_its_backbones_positions(
    settings: Callable[..., Any],
) -> None:
    chosen = settings("method=prompt_tuning", "method.num_virtual_tokens=10")
    (record,) = run(chosen)
    folder = next(Path(chosen.output_dir).glob("main/*"))
    loaded = pedro_bench.load(folder, device="cpu")
    assert record["status"] == "finished"
    with pytest.raises(DataError, match=r"must fit into 30 tokens, got 31: shorten the prompt"):
        loaded.generate(["cat " * 25 + "cat"], max_new_tokens=4)
    assert len(loaded.generate(["cat " * 24 + "cat"], max_new_tokens=4)) == 1
