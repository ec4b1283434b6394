"""PEDRO's settings that a backbone of two layers does not tell apart."""

from pathlib import Path
from typing import Any

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


def test_the_coefficients_alone_are_trained_apart(tiny_backbone: Any) -> None:
    """Omega is W_down, W_up and b_up, Theta the coefficients of R (eq. 8)."""
    adapted = AdaptedModel(tiny_backbone, build_method("pedro"))
    names = {id(tensor): name for name, tensor in adapted.adapter.named_parameters()}
    groups = {
        group: {names[id(tensor)].partition("generator.")[2] for tensor in tensors}
        for group, tensors in adapted.parameter_groups().items()
    }
    assert groups == {
        "weights": {"down", "up", "bias"},
        "architecture": {"activation.numerator", "activation.denominator"},
    }
