"""The names of the cache: those of the installed Transformers, and what a caller may still use."""

import inspect
from types import SimpleNamespace

import pytest
from transformers import FalconConfig, LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.falcon.modeling_falcon import FalconAttention
from transformers.models.llama.modeling_llama import LlamaAttention

from pedro_bench.protocols.cache import CACHE, argument_of, cache_of, given_cache


def test_the_name_is_the_installed_models_own() -> None:
    assert CACHE in inspect.signature(LlamaForCausalLM.forward).parameters


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_given_cache_is_found_under_either_name(name: str) -> None:
    cache = object()
    assert given_cache({"input_ids": 1, name: cache}) is cache


def test_no_cache_is_none() -> None:
    assert given_cache({"input_ids": 1}) is None
    assert cache_of(SimpleNamespace(last_hidden_state=1)) is None


def test_an_outputs_cache_is_found() -> None:
    cache = object()
    assert cache_of(CausalLMOutputWithPast(**{CACHE: cache})) is cache


def test_an_attention_module_is_asked_for_its_own_name() -> None:
    own = LlamaAttention(LlamaConfig(hidden_size=32), layer_idx=0)
    other = FalconAttention(FalconConfig(hidden_size=8, num_attention_heads=1), layer_idx=0)
    assert argument_of(own.forward) == CACHE
    assert argument_of(other.forward) == "layer_past"
