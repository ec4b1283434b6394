"""`backbone.adapter`: peft's LoRA checkpoints merged into the weights, and known by their hash."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from pedro_bench.backbones.adapters import _FREE, _MERGED, _MERGED_STARTS, _STARTS, odd_setting
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError


def checkpoint(base: Path, out: Path, **settings: Any) -> Any:
    """Save a LoRA checkpoint that changes the model, and return the model with it."""
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "down_proj"], **settings},
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(out)
    return model.eval()


def backbone_of(folder: Path, **options: Any) -> Pretrained:
    return Pretrained(name="tiny", label="tiny", path=str(folder), **options)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 3}},
        {"layers_to_transform": [1], "lora_dropout": 0.1},
        *({"init_lora_weights": start} for start in (*_STARTS[1:], *_MERGED_STARTS)),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*eva")  # its start is replaced
def test_a_merged_checkpoint_gives_pefts_logits(
    settings: dict[str, Any], tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    reference = checkpoint(tiny_folders["llama"], tmp_path / "lora", **settings)
    plain = backbone_of(tiny_folders["llama"]).load(device="cpu")
    before = torch.random.get_rng_state()
    chosen = backbone_of(tiny_folders["llama"], adapter=str(tmp_path / "lora"))
    loaded = chosen.load(device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    ids = torch.tensor([[1, 5, 9, 20, 33]])
    with torch.no_grad():
        found, expected = loaded.model(ids).logits, reference(ids).logits
        assert float((expected - plain.model(ids).logits).abs().max()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert list(loaded.model.state_dict()) == list(plain.model.state_dict())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not hasattr(loaded.model, "peft_config")


def test_the_identity_has_the_checkpoints_hash_where_there_is_one(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    for name, rank in (("one", 4), ("two", 2)):
        checkpoint(tiny_folders["llama"], tmp_path / name, r=rank)
    plain = backbone_of(tiny_folders["llama"]).identity()
    one, two = (
        backbone_of(tiny_folders["llama"], adapter=str(tmp_path / name)).identity()
        for name in ("one", "two")
    )
    assert " adapter:" not in plain
    assert one.startswith(f"{plain} adapter:") and two.startswith(f"{plain} adapter:")
    assert one != two
    (tmp_path / "one").rename(tmp_path / "moved")
    moved = backbone_of(tiny_folders["llama"], adapter=str(tmp_path / "moved"))
    assert moved.identity() == one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, r"must be a checkpoint of peft's type LORA, got 'IA3'"),
        ({"bias": "all"}, r"must hold low-rank updates alone, got bias='all'"),
        ({"modules_to_save": ["lm_head"]}, r"got modules_to_save=\['lm_head'\]"),
        ({"alora_invocation_tokens": [5]}, r"alone, got alora_invocation_tokens=\[5\] .* peft can"),
        ({"layer_replication": [[0, 2], [1, 2]]}, r"alone, got layer_replication="),
        ({"init_lora_weights": "loftq"}, r"alone, got init_lora_weights='loftq'"),
        ({"r": 3}, r"must fit the backbone, got a refusal"),
        ({"target_modules": ["q_proj"]}, r"must fit the backbone, got a refusal"),
        ({"target_modules": ["q_proj", "down_proj", "up_proj"]}, r"\(a difference in .*up_proj"),
    ],
    ids=str,
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint(tiny_folders["llama"], tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    chosen = backbone_of(tiny_folders["llama"], adapter=str(tmp_path / "lora"))
    with pytest.raises(BackboneError, match=message):
        chosen.load(device="cpu")


def test_folders_without_safetensors_are_refused(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    chosen = backbone_of(tiny_folders["llama"], adapter=str(tmp_path))
    with pytest.raises(BackboneError, match=r"must be a folder with adapter_config.json"):
        chosen.identity()
    checkpoint(tiny_folders["llama"], tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(BackboneError, match=r"got none .* pickled weights are not read"):
        chosen.identity()


@pytest.mark.filterwarnings("ignore:.*LoRA tensor.s. have invalid shape")  # of a bias, by mistake
def test_a_merged_checkpoint_may_train_biases_of_its_updates(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    reference = checkpoint(
        tiny_folders["gpt2"], tmp_path, lora_bias=True, target_modules=["c_fc"], fan_in_fan_out=True
    )
    loaded = backbone_of(tiny_folders["gpt2"], adapter=str(tmp_path)).load(device="cpu")
    ids = torch.tensor([[1, 5, 9, 20, 33]])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model(ids).logits, reference(ids).logits, rtol=1e-4, atol=1e-4
        )


def test_every_setting_of_pefts_lora_is_plain_at_its_default_and_acts_unless_it_is_listed() -> None:
    default = peft.LoraConfig(target_modules=["q_proj"]).to_dict()
    assert odd_setting(default, merged=False) is None
    for name in default:
        for merged in (False, True):
            odd = odd_setting({**default, name: "other"}, merged=merged)
            assert (odd is None) == (name in _FREE or (merged and name in _MERGED)), name
    assert odd_setting({**default, "of_a_later_peft": 1}, merged=True) == "of_a_later_peft=1"
