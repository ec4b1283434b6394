"""Families are found by listing their folder, and chosen by the model type."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pedro_bench.backbones import families as package
from pedro_bench.backbones.family import families, family_of
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import Columns, present


def test_every_module_of_the_folder_holds_a_family() -> None:
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")} - {"__init__"}
    assert {type(one).__module__.rpartition(".")[2] for one in families().values()} == modules
    assert {"Llama", "GPT2", "GPTNeoX", "Falcon"} <= set(families())


def test_one_family_alone_is_open() -> None:
    assert [one.name for one in families().values() if not one.model_types] == ["Llama"]
    named = [kind for one in families().values() for kind in one.model_types]
    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("gpt2", "GPT2"), ("gpt_neox", "GPTNeoX"), ("falcon", "Falcon"), ("qwen3", "Llama")],
)
def test_the_model_type_chooses(model_type: str, name: str) -> None:
    assert family_of(model_type).name == name


def test_a_model_of_no_family_is_refused_with_those_that_work() -> None:
    backbone = Pretrained(
        name="other",
        label="other",
        architecture={"model_type": "opt", "hidden_size": 32, "word_embed_proj_dim": 32}
        | {"num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32, "vocab_size": 64},
    )
    message = r"must have .* got OPTForCausalLM, which lacks .*one of .*falcon, gpt2, gpt_neox"
    with pytest.raises(BackboneError, match=message):
        backbone.shape()


def test_listing_families_imports_no_torch() -> None:
    code = """
import sys
from pedro_bench.backbones.family import families
print(len(families()) > 3, 'torch' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_columns_of_interleaved_groups() -> None:
    """Two groups of (query, key), three wide each: the key's columns are 3 to 5 and 9 to 11."""
    columns = Columns(3, 3, groups=2)
    whole = torch.arange(24.0).view(2, 12)
    assert columns.outputs == 6
    assert columns.take(whole)[0].tolist() == [3, 4, 5, 9, 10, 11]
    assert columns.take(whole.T, -2)[:, 1].tolist() == [15, 16, 17, 21, 22, 23]
    columns.put(whole, torch.zeros(2, 6))
    assert whole[0].tolist() == [0, 1, 2, 0, 0, 0, 6, 7, 8, 0, 0, 0]


def test_a_gate_that_is_not_there_is_left_out_of_several_roles_alone() -> None:
    assert present(("query", "ffn_gate"), ("query", "ffn_up")) == ["query"]
    assert present(("query", "ffn_gate"), ("query", "ffn_gate")) == ["query", "ffn_gate"]
    assert present(("ffn_gate",), ("query",)) == ["ffn_gate"]  # refused where it is asked for


@pytest.mark.parametrize(("model_type", "positions"), [("roberta", 512), ("bert", 514)])
def test_positions_that_no_token_takes_are_not_counted(model_type: str, positions: int) -> None:
    """RoBERTa's table has rows for its padding token and for what stands before it."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(model_type, max_position_embeddings=514, pad_token_id=1)
    assert family_of(model_type).max_positions(config) == positions
