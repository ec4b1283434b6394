"""The types on a model that Transformers has quantised with bitsandbytes, on a CPU."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

pytest.importorskip("bitsandbytes", reason="the extra `quantization` is not installed")

from transformers import BitsAndBytesConfig

from tests.tiny import save_tiny
from tests.unit.integrations.peft_types import TYPES, arguments, config_of, model_of, move

SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
"""Sizes in which four-bit blocks are whole."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny", **SIZES)


@pytest.mark.parametrize("kind", TYPES)
def test_nf4(kind: str, folder: Path, tmp_path: Path, make_batch: Any) -> None:
    """Trained and saved on four-bit weights, it computes the same on them when it is loaded."""
    quantised = {
        "quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
        "device_map": {"": "cpu"},
    }
    batch = make_batch()
    wrapped = peft.get_peft_model(model_of(folder, **quantised), config_of(kind))
    layer = wrapped.base_model.layer
    move(layer.parameters())
    wrapped.train()
    wrapped(**arguments(batch)).loss.backward()
    assert all(one.grad is not None for one in layer.parameters())
    assert not any(
        one.requires_grad for name, one in wrapped.named_parameters() if "method_layer" not in name
    )
    wrapped.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(model_of(folder, **quantised), tmp_path)
    with torch.no_grad():
        expected = wrapped.eval()(**arguments(batch)).logits
        torch.testing.assert_close(loaded(**arguments(batch)).logits, expected)
