"""Wrong settings of the methods are refused in one sentence that names value and rule."""

from typing import Any

import pytest

from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("pedro", {"r": 0}, r"method\.r must be a whole number of at least 1, got 0\."),
        ("pedro", {"r": 2.5}, r"method\.r must be a whole number of at least 1, got 2\.5\."),
        ("pedro", {"r": True}, r"method\.r must be a whole number of at least 1, got True\."),
        ("pedro", {"pooling": "lest"}, r"method\.pooling .* got 'lest'\. Did you mean 'last'\?"),
        ("pedro", {"activation": "tanh"}, r"method\.activation .* got 'tanh'\..*Known: gelu"),
        ("pedro", {"roles": ["query", "attn_out"]}, r"method\.roles .* got 'attn_out'"),
        ("pedro", {"roles": []}, r"method\.roles must list distinct roles, at least one, got \[\]"),
        ("pedro", {"roles": ["query", "query"]}, r"method\.roles must list distinct roles"),
        ("pedro_5", {"bilevel": "validation"}, r"method\.bilevel must be none with .*=relu"),
        ("pedro", {"bilevel": "dev"}, r"method\.bilevel must be one of .* got 'dev'"),
        ("lora", {"r": -4}, r"method\.r must be a whole number of at least 1, got -4\."),
        ("lora", {"alpha": 0}, r"method\.alpha must be a number above 0, got 0\."),
        (
            "lora",
            {"dropout": 1.0},
            r"method\.dropout must be a number at least 0 and below 1, got 1",
        ),
        ("lora", {"roles": ["querry"]}, r"method\.roles .* got 'querry'\. Did you mean 'query'\?"),
        ("lora", {"lr": 0}, r"method\.lr must be a number above 0 or null, got 0\."),
        ("lora", {"lr": "fast"}, r"method\.lr must be a number above 0 or null, got 'fast'\."),
        (
            "red",
            {"scaling": False, "bias": False},
            r"method\.bias must be true with method\.scaling=false, got False",
        ),
        ("red", {"scaling": 1}, r"method\.scaling must be true or false, got 1\."),
        ("red", {"roles": ["ffn_dow"]}, r"method\.roles .* got 'ffn_dow'\. Did you mean"),
        ("ft_top2", {"num_layers": 0}, r"method\.num_layers must be a whole number of at least 1"),
        ("bitfit", {"r": 0}, r"method\.r must be a whole number of at least 1 or null, got 0\."),
        ("bitfit", {"roles": ["norm"]}, r"method\.roles .* got 'norm'\..*Known: attn_out"),
        ("houlsby_adapter", {"r": 0}, r"method\.r must be a whole number of at least 1, got 0\."),
        ("adapter_ffn", {"roles": ["ffn_up"]}, r"method\.roles .* got 'ffn_up'\..*Known: attn_out"),
        (
            "adapterdrop",
            {"dropped_fraction": 1},
            r"method\.dropped_fraction must be a number at least 0 and below 1, got 1",
        ),
        ("ia3", {"r": 0}, r"method\.r must be a whole number of at least 1 or null, got 0\."),
        (
            "ptuning_v2",
            {"num_virtual_tokens": 0},
            r"method\.num_virtual_tokens must be a whole number of at least 1, got 0\.",
        ),
        (
            "prefix_tuning",
            {"encoder_hidden_size": 0},
            r"method\.encoder_hidden_size must be a whole number of at least 1 or null, got 0\.",
        ),
        (
            "prefix_tuning",
            {"dropout": -0.1},
            r"method\.dropout must be a number at least 0 .*-0\.1",
        ),
        (
            "infix_tuning",
            {"place": "after"},
            r"method\.place .* got 'after'\. Did you mean 'after_prompt'\?",
        ),
        ("lpt", {"pooling": "average"}, r"method\.pooling .* got 'average'\..*Known: max, mean"),
        ("lpt", {"layer": 0}, r"method\.layer must be a whole number of at least 1 or null, got 0"),
        (
            "pedro",
            {"bilevel": "none", "architecture_lr": 0.1},
            r"method\.architecture_lr must be null with method\.bilevel=none, got 0\.1",
        ),
        ("ssp", {"budget": 0}, r"method\.budget must be a number above 0, got 0\."),
        ("ssp", {"budget": 20.5}, r"method\.budget must be a whole number .* below 1, got 20\.5"),
        ("ssp", {"beta": 0}, r"method\.beta must be a number above 0, got 0\."),
        ("ssp", {"r": 0}, r"method\.r must be a whole number of at least 1, got 0\."),
        ("ssp", {"structure": []}, r"method\.structure must list distinct .* got \[\]"),
        (
            "ssp",
            {"structure": ["norm.bias"]},
            r"method\.bilevel must be none with a method\.structure, got 'train_half'",
        ),
        ("learned_adapter", {"bottleneck_size": 0}, r"method\.bottleneck_size .* got 0\."),
        ("learned_adapter", {"operators": ["convolution"]}, r"method\.operators .*'convolution'"),
        (
            "learned_adapter",
            {"operators": ["linear"], "places": ["ffn_down"]},
            r"must leave something to choose, got 'ffn_down\.linear' alone",
        ),
        (
            "learned_adapter",
            {"structure": ["attn_out.liner"]},
            r"method\.structure must name .* got 'attn_out\.liner'.*Did you mean 'attn_out\.linear'",
        ),
        (
            "learned_adapter",
            {"structure": ["attn_out.linear"]},
            r"method\.bilevel must be none with a method\.structure, got 'train_half'",
        ),
    ],
)
def test_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_method(name, **changes)


KNOWN = {"bilevel": "none", "architecture_lr": None}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ssp", {"budget": 15}, r"smallest candidate \(16 parameters\) and not all .*, got 15\."),
        ("ssp", {"budget": 10**6}, r"method\.budget must hold the smallest .*, got 1000000\."),
        (
            "ssp",
            {**KNOWN, "structure": ["layers.0.qury.bias"]},
            r"method\.structure must name .*'layers\.0\.qury\.bias'.*'layers\.0\.query\.bias'",
        ),
        (
            "ssp",
            {**KNOWN, "budget": 40, "structure": ["norm.bias", "norm.scale"]},
            r"method\.structure must have at most the budget's 40 parameters, got 64\.",
        ),
        (
            "learned_adapter",
            {**KNOWN, "structure": ["ffn_down.gated"] * 3},
            r"method\.structure must have one entry for each of the 2 layers, got 3\.",
        ),
    ],
)
def test_a_structure_that_does_not_fit_the_backbone_is_refused(
    name: str, changes: dict[str, Any], message: str, tiny_backbone: Any
) -> None:
    method = build_method(name, **changes)
    with pytest.raises(ConfigError, match=message):
        method.count(tiny_backbone.shape)
    with pytest.raises(ConfigError, match=message):
        AdaptedModel(tiny_backbone, method)
