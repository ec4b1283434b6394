"""Backbones that static steps, or mixed batches, would be wrong on are refused; their like are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError, ConfigError
from pedro_bench.serving import AdapterBank, FastDecoder
from tests.tiny import build_method, save_tiny
from tests.unit.serving.decoding import answers

ROPES: dict[str, dict[str, Any]] = {
    "dynamic": {"factor": 4.0},
    "longrope": {
        "factor": 2.0,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 8.0, 16.0, 32.0],
        "original_max_position_embeddings": 128,
    },
    "linear": {"factor": 2.0},
    "yarn": {"factor": 2.0, "original_max_position_embeddings": 128},
}


def load_with_rope(folder: Path, kind: str) -> Any:
    rope = {"rope_type": kind, "rope_theta": 10000.0, **ROPES[kind]}
    path = save_tiny(folder, rope_parameters=rope)
    return Pretrained(name="tiny", label="tiny", path=str(path)).load(device="cpu")


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotary_embeddings_that_the_longest_sequence_decides_are_refused(
    kind: str, tmp_path: Path, make_tenant: Callable[..., Any]
) -> None:
    backbone = load_with_rope(tmp_path, kind)
    for decoding in ("static", "compiled"):
        with pytest.raises(
            ConfigError,
            match=f"decoding must be plain where .* rope_type '{kind}' .* got '{decoding}'",
        ):
            FastDecoder(backbone, decoding)
    with pytest.raises(
        BackboneError, match=f"same rotary embeddings in every batch .* got rope_type '{kind}'"
    ):
        AdapterBank(backbone, build_method("pedro"))
    assert answers(make_tenant("pedro", 1, backbone), None, 1), "plain, and one run, go on as ever"


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_rotary_embeddings_that_stay_as_they_are_are_taken(
    kind: str, tmp_path: Path, make_tenant: Callable[..., Any]
) -> None:
    backbone = load_with_rope(tmp_path, kind)
    AdapterBank(backbone, build_method("pedro")).close()
    adapted = make_tenant("pedro", 1, backbone)
    assert answers(adapted, FastDecoder(backbone, "static"), 1) == answers(adapted, None, 1)


@pytest.mark.parametrize("decoding", ["static", "compiled"])
def test_an_attention_that_takes_no_mask_of_scores_is_refused(
    decoding: str, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_backbone.model.config, "_attn_implementation", "flash_attention_2")
    with pytest.raises(
        ConfigError,
        match=f"must be sdpa or eager with decoding='{decoding}', .* got 'flash_attention_2': set",
    ):
        FastDecoder(tiny_backbone, decoding)


def test_eager_attention_takes_static_steps(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny(attn_implementation="eager")
    adapted = make_tenant("pedro", 1, backbone)
    assert answers(adapted, FastDecoder(backbone, "static"), 3) == answers(adapted, None, 3)
