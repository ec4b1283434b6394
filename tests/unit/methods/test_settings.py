"""Wrong settings of the methods are refused in one sentence that names value and rule."""

from typing import Any

import pytest

from pedro_bench.errors import ConfigError
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
    ],
)
def test_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_method(name, **changes)
