"""What cannot be measured is refused before anything is loaded."""

from typing import Any

import pytest

from pedro_bench.efficiency.request import DECODINGS, DEFAULTS, request_of
from pedro_bench.errors import ConfigError
from pedro_bench.serving import fast_decoding


def test_one_value_stands_for_a_list() -> None:
    request = request_of({**DEFAULTS, "methods": "pedro", "beams": 1, "tenants": 4})
    assert (request.methods, request.beams, request.tenants) == (("pedro",), (1,), (4,))
    assert (request.prompt_tokens, request.new_tokens) == (278.6, 32.5)


def test_decodings_are_those_of_serving() -> None:
    assert DECODINGS == fast_decoding.DECODINGS


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("methods", [], "methods must list distinct values, at least one"),
        ("methods", ["lora", "lora"], "methods must list distinct values"),
        ("beams", [0], "beams must be a whole number of at least 1, got 0"),
        ("tenants", [2, 2], "tenants must be distinct numbers"),
        ("decoding", "compild", "got 'compild'. Did you mean 'compiled'"),
        ("repeats", 0, "repeats must be a whole number of at least 1, got 0"),
        ("warmup", 0, "warmup must be a whole number of at least 1, got 0"),
        ("merged", 1, "merged must be true or false, got 1"),
        ("prompts", True, "prompts must be a whole number of at least 1, got True"),
        ("lengths", "papers", "got 'papers'. Did you mean 'paper'"),
        ("new_tokens", 1, "new_tokens must be a number at least 2, got 1"),
    ],
)
def test_wrong_values_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request_of({**DEFAULTS, key: value})
