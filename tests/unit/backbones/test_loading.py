"""Loading: what is refused, what is proved, and what a loaded backbone gives."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.backbones.refusals import unsuitable
from pedro_bench.errors import BackboneError, ConfigError, InjectionError

SIZES: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
}


@pytest.fixture
def folder(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint that a test may change."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(tiny_folders["llama"], copy)
    return copy


def make(path: Path | None = None, **options: Any) -> Pretrained:
    given = {"path": str(path)} if path is not None else {}
    return Pretrained(**{"name": "test", "label": "Test", **given, **options})


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_frozen_in_evaluation_mode_and_ready(folder: Path) -> None:
    loaded = make(folder).load(device="cpu")
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not any(module.training for module in loaded.model.modules())
    assert loaded.model.config.use_cache
    assert loaded.model.dtype == torch.float32
    assert loaded.name == "test"
    assert loaded.revision == make(folder).identity()
    assert loaded.device == torch.device("cpu")
    assert loaded.tokenizer.pad_token == "<pad>"


def test_the_tokenizer_alone_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    tokenizer = make(folder).load_tokenizer()
    assert tokenizer.pad_token == "<pad>"
    assert tokenizer("a cat").input_ids[0] == tokenizer.bos_token_id
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    with pytest.raises(BackboneError, match=r"must hold a tokenizer .* backbone.tokenizer_path="):
        make(bare).load_tokenizer()


def test_use_cache_is_switched_on(folder: Path) -> None:
    change_config(folder, use_cache=False)
    assert make(folder).load(device="cpu").model.config.use_cache


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(None, torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_dtype_of_a_bfloat16_checkpoint_on_the_cpu(
    folder: Path, dtype: str | None, expected: torch.dtype
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    loaded = make(folder, dtype=dtype).load(device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {expected}
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter.to(torch.bfloat16), model.get_parameter(name)), name


def test_sharded_weights_give_the_same_model(folder: Path, tmp_path: Path) -> None:
    whole = make(folder).load(device="cpu")
    sharded = tmp_path / "sharded"
    shutil.copytree(folder, sharded)
    (sharded / "model.safetensors").unlink()
    whole.model.save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    assert make(sharded).load(device="cpu").fingerprint() == whole.fingerprint()


def test_fingerprint_sees_every_bit(load_tiny: Callable[..., Any]) -> None:
    loaded = load_tiny()
    before = loaded.fingerprint()
    assert load_tiny().fingerprint() == before
    for parameter in list(loaded.model.parameters())[::5]:
        bits = parameter.data.view(torch.int32).reshape(-1)
        bits[-1] ^= 1
        assert loaded.fingerprint() != before
        bits[-1] ^= 1
    assert loaded.fingerprint() == before


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BackboneError, match=r"must hold every parameter.*layers\.1\.mlp\.up_proj.*\(1 missing\)"
    ):
        make(folder).load(device="cpu")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=40)
    sizes = (
        r"must have the sizes .*got \[32, 48\] in place of \[32, 40\] for .*down_proj.*\(6 differ"
    )
    with pytest.raises(BackboneError, match=sizes):
        make(folder).load(device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "no_such_type"}, r"config\.json must describe a causal .*no_such_type"),
        ({"model_type": "bart"}, r"lacks norm"),
        ({"model_type": "vit"}, r"must describe a causal language model"),
    ],
)
def test_other_architectures_are_refused(folder: Path, changes: Any, message: str) -> None:
    change_config(folder, **changes)
    backbone = make(folder)
    with pytest.raises(BackboneError, match=message):
        backbone.shape()
    with pytest.raises(BackboneError, match=r"must describe|lacks|must hold every parameter"):
        backbone.load(device="cpu")


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (
            transformers.BloomConfig(hidden_size=32, n_layer=1, n_head=2, vocab_size=64),
            "layers, embed_tokens, norm",
        ),
        (
            transformers.Starcoder2Config(**{**SIZES, "model_type": "starcoder2"}),
            r"gate_proj, up_proj, down_proj \(exactly one each in layer 0\)",
        ),
    ],
    ids=["bloom", "starcoder2"],
)
def test_a_model_without_the_names_says_which(config: Any, missing: str) -> None:
    backbone = make(architecture=config.to_dict())
    with pytest.raises(BackboneError, match=rf"modules of the Llama family, got .*lacks {missing}"):
        backbone.shape()


def test_unsupported_attention_names_the_setting(tmp_path: Path, folder: Path) -> None:
    config = transformers.Gemma2Config(**{**SIZES, "model_type": "gemma2"})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    with pytest.raises(
        BackboneError, match=r"attn_implementation must be .*: set backbone\.attn_impl.*=eager"
    ):
        make(folder).load(device="cpu")
    loaded = make(folder, attn_implementation="eager").load(device="cpu")
    assert loaded.shape.family == "gemma2"


def test_the_mapping_must_fit_the_loaded_weights(folder: Path) -> None:
    """A wrong mapping would make wrong parameter tables; loading shows it."""
    from pedro_bench.backbones.loading import load_folder

    class Disagreeing(Pretrained):
        def configuration(self) -> tuple[dict[str, Any], str]:
            return {**SIZES, "intermediate_size": 47}, "backbone.architecture"

    backbone = Disagreeing(name="test", label="Test", path=str(folder))
    with pytest.raises(
        BackboneError, match=r"must have the shape that backbone\.architecture promises \(19,424"
    ):
        load_folder(backbone, folder, "revision", "cpu")


def test_head_equals_the_models_logits_with_soft_capping(folder: Path) -> None:
    config = transformers.Gemma2Config(
        **{**SIZES, "model_type": "gemma2"}, final_logit_softcapping=0.5, initializer_range=0.5
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    loaded = make(folder, attn_implementation="eager").load(device="cpu")
    ids = torch.tensor([[1, 5, 9, 12]])
    expected = loaded.model(input_ids=ids).logits
    hidden = loaded.decoder(input_ids=ids).last_hidden_state
    assert torch.allclose(loaded.head(hidden[0]), expected[0], atol=1e-6)
    assert float(expected.detach().abs().max()) <= 0.5
    assert loaded.head(hidden[0].double().float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("family", "setting"), [("cohere", "logit_scale"), ("granite", "logits_scaling")]
)
def test_head_knows_other_scalings(folder: Path, family: str, setting: str) -> None:
    config = transformers.AutoConfig.for_model(
        **{**SIZES, "model_type": family, setting: 0.25, "eos_token_id": 2, "bos_token_id": 1},
        initializer_range=0.5,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    loaded = make(folder).load(device="cpu")
    ids = torch.tensor([[1, 5, 9]])
    hidden = loaded.decoder(input_ids=ids).last_hidden_state[0]
    plain = loaded.model.get_output_embeddings()(hidden)
    factor = 0.25 if family == "cohere" else 4.0
    assert torch.allclose(loaded.head(hidden), plain * factor, atol=1e-5)


def test_a_head_that_does_something_unknown_is_refused(load_tiny: Callable[..., Any]) -> None:
    from pedro_bench.backbones.proofs import prove_head

    loaded = load_tiny()
    loaded.model.config.logit_scale = 3.0  # Llama's own forward does not know it; `head` would
    with pytest.raises(BackboneError, match=r"must compute its logits as the Llama family does"):
        prove_head(loaded)


def test_random_weights_are_seeded_and_leave_the_generator_alone() -> None:
    def build(seed: int) -> Any:
        return make(random_weights=True, random_seed=seed, architecture=SIZES, **tokenizer)

    tokenizer = {"tokenizer_path": None}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    sizes_fit = {**SIZES, "vocab_size": 50_000}
    first = make(random_weights=True, architecture=sizes_fit).load(device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    again = make(random_weights=True, architecture=sizes_fit).load(device="cpu")
    other = make(random_weights=True, random_seed=1, architecture=sizes_fit).load(device="cpu")
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.shape == make(architecture=sizes_fit).shape()
    assert first.tokenizer.eos_token_id is not None
    with pytest.raises(BackboneError, match=r"at most the backbone's 64 tokens, .*got \d+"):
        build(0).load(device="cpu")


def test_random_weights_use_the_folders_own_tokenizer(folder: Path) -> None:
    loaded = make(folder, random_weights=True, random_seed=7).load(device="cpu")
    assert loaded.tokenizer.convert_tokens_to_ids("Oslo") > 3
    assert loaded.fingerprint() != make(folder).load(device="cpu").fingerprint()


def save_tokenizer(folder: Path, **specials: str) -> None:
    from tokenizers import Tokenizer, models

    words = {word: index for index, word in enumerate(["a", "b", "<u>", "</s>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<u>"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials).save_pretrained(
        folder
    )


@pytest.mark.parametrize(
    ("specials", "pad"),
    [
        ({"eos_token": "</s>", "unk_token": "<u>"}, "<u>"),
        ({"eos_token": "</s>"}, "</s>"),
        ({"eos_token": "</s>", "unk_token": "<u>", "pad_token": "a"}, "a"),
    ],
)
def test_padding_token(folder: Path, specials: dict[str, str], pad: str) -> None:
    save_tokenizer(folder, **specials)
    assert make(folder).load(device="cpu").tokenizer.pad_token == pad


def test_a_tokenizer_without_end_of_sequence_is_refused(folder: Path) -> None:
    save_tokenizer(folder, unk_token="<u>")
    with pytest.raises(BackboneError, match=r"must have an end-of-sequence token, got none"):
        make(folder).load(device="cpu")


def test_a_folder_without_tokenizer_names_the_setting(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(BackboneError, match=r"must hold a tokenizer.*backbone\.tokenizer_path="):
        make(folder).load(device="cpu")


def test_another_tokenizer_is_taken(folder: Path, tiny_folders: dict[str, Path]) -> None:
    save_tokenizer(folder, eos_token="</s>")
    loaded = make(folder, tokenizer_path=str(tiny_folders["gemma"])).load(device="cpu")
    assert loaded.tokenizer.pad_token == "<pad>"


def test_unknown_role(load_tiny: Callable[..., Any]) -> None:
    with pytest.raises(InjectionError, match=r"got 'qery'\. Did you mean 'query'\?"):
        load_tiny().sites("qery")


def test_loading_writes_nothing_to_the_terminal(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(folder).load(device="cpu")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
    ],
)
def test_a_machine_without_memory_or_threads_is_not_told_as_a_bad_folder(error: Exception) -> None:
    message = str(unsuitable("models/seven", error))
    assert message.startswith("models/seven must fit into this machine's memory and threads, got ")
    assert "set backbone.dtype=bfloat16, choose a smaller backbone" in message
    assert "causal language model" not in message


@pytest.mark.parametrize(
    ("device", "count", "found"), [("cuda", 0, "no GPU"), ("cuda:2", 2, "2 GPUs")]
)
def test_a_gpu_that_is_not_there_is_told_before_anything_is_read(
    tiny_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    count: int,
    found: str,
) -> None:
    """A build of PyTorch for CUDA on a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    backbone = Pretrained(name="tiny", label="tiny", path=str(tiny_folders["llama"]))
    with pytest.raises(ConfigError, match=f"got '{device}' where PyTorch finds {found}: set"):
        backbone.load(device=device)
