"""PEDRO's settings that a backbone of two layers does not tell apart."""

from pathlib import Path

from torch import nn

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method, save_tiny


def test_of_an_odd_number_of_layers_the_middle_one_has_gelu(tmp_path: Path) -> None:
    """ReLU is for the first half: of three layers the first alone."""
    folder = save_tiny(tmp_path / "odd", num_hidden_layers=3)
    backbone = Pretrained(name="odd", label="odd", path=str(folder)).load(device="cpu")
    adapted = AdaptedModel(backbone, build_method("pedro_7"))
    kinds = [
        type(adapted.adapter.get_submodule(f"layers.{layer}.generator.activation"))
        for layer in range(3)
    ]
    assert kinds == [nn.ReLU, nn.GELU, nn.GELU]
