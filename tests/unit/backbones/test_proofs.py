"""Proofs: every tensor of the files is used or refused by name, in one file or in shards, tied or not."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError
from tests.tiny import save_tiny

State = dict[str, Any]
BIAS = "model.layers.0.self_attn.q_proj.bias"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
QUERY = "model.layers.1.self_attn.q_proj.weight"
ROTARY = "model.layers.0.self_attn.rotary_emb.inv_freq"


def make(path: Path, **options: Any) -> Pretrained:
    return Pretrained(name="test", label="Test", path=str(path), **options)


def load(path: Path, **options: Any) -> Any:
    return make(path, **options).load(device="cpu")


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def frequencies(theta: float = 10_000.0) -> Any:
    return 1 / theta ** (torch.arange(0, 8, 2) / 8)


@pytest.fixture(params=["single", "sharded"])
def rewrite(request: pytest.FixtureRequest) -> Callable[[Path, Callable[[State], object]], Path]:
    """A function that changes the tensors of a folder and saves them in one file or in two."""
    from safetensors.torch import load_file, save_file

    def change(folder: Path, edit: Callable[[State], object]) -> Path:
        file = folder / "model.safetensors"
        state = load_file(file)
        edit(state)
        state = {name: tensor.clone().contiguous() for name, tensor in state.items()}
        if request.param == "single":
            save_file(state, file, metadata={"format": "pt"})
            return folder
        file.unlink()
        places = {}
        for number in (0, 1):
            part = {name: state[name] for name in sorted(state)[number::2]}
            place = f"model-{number}.safetensors"
            save_file(part, folder / place, metadata={"format": "pt"})
            places |= dict.fromkeys(part, place)
        index = {"metadata": {}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return change


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A fresh tiny checkpoint, with a head of its own or with a tied one."""
    return save_tiny(tmp_path / "checkpoint", tie_word_embeddings=request.param)


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tied", tie_word_embeddings=True)


@pytest.mark.parametrize(
    "extra",
    [
        {BIAS: (32,)},
        {"model.layers.1.mlp.up_proj.bias": (48,)},
        {"model.layers.0.self_attn.q_norm.weight": (8,)},
        {"model.layers.2.mlp.up_proj.weight": (48, 32)},
        {"score.weight": (2, 32)},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_a_tensor_without_a_place_is_named(folder: Path, rewrite: Any, extra: Any) -> None:
    (name, shape) = next(iter(extra.items()))
    rewrite(folder, lambda state: state.update({name: torch.ones(shape)}))
    with pytest.raises(BackboneError, match=rf"must be used by Llama.*got {name} \(1 unused\)"):
        load(folder)


def test_many_unused_tensors_are_counted(folder: Path, rewrite: Any) -> None:
    names = [f"mtp.{number}.weight" for number in range(5)]
    rewrite(folder, lambda state: state.update({name: torch.ones(2) for name in names}))
    with pytest.raises(BackboneError, match=r"got mtp\.0.*mtp\.2\.weight and 2 more \(5 unused\)"):
        load(folder)


def test_biases_that_the_configuration_asks_for_are_used(folder: Path, rewrite: Any) -> None:
    change_config(folder, attention_bias=True)
    width = {"q": 32, "k": 16, "v": 16, "o": 32}
    biases = {
        f"model.layers.{layer}.self_attn.{part}_proj.bias": torch.full((size,), 0.5)
        for layer in (0, 1)
        for part, size in width.items()
    }
    rewrite(folder, lambda state: state.update(biases))
    query = load(folder).model.get_parameter(BIAS)
    assert torch.equal(query, torch.full((32,), 0.5))


def test_a_missing_tensor_is_named_with_the_unused_ones(folder: Path, rewrite: Any) -> None:
    other = QUERY.replace("q_proj", "query")
    rewrite(folder, lambda state: state.update({other: state.pop(QUERY)}))
    with pytest.raises(
        BackboneError, match=rf"every parameter .*none for {QUERY} \(1 missing\) and {other}"
    ):
        load(folder)


@pytest.mark.parametrize("value", [0.0, -1.5, 3.0])
def test_the_same_parameter_twice_must_be_equal(folder: Path, rewrite: Any, value: float) -> None:
    short = QUERY.removeprefix("model.")
    rewrite(folder, lambda state: state.update({short: torch.full((32, 32), value)}))
    with pytest.raises(BackboneError, match=rf"must be equal, got {short} and {QUERY} in .*differ"):
        load(folder)


def test_an_equal_second_copy_is_accepted(folder: Path, rewrite: Any) -> None:
    before = load(folder).fingerprint()
    rewrite(folder, lambda state: state.update({QUERY.removeprefix("model."): state[QUERY]}))
    assert load(folder).fingerprint() == before


def test_names_without_the_decoders_prefix_give_the_same_model(folder: Path, rewrite: Any) -> None:
    before = load(folder).fingerprint()

    def shorten(state: State) -> None:
        for name in [name for name in state if name.startswith("model.")]:
            state[name.removeprefix("model.")] = state.pop(name)

    rewrite(folder, shorten)
    assert load(folder).fingerprint() == before


def test_an_equal_copy_of_a_tied_head_is_accepted(tied: Path, rewrite: Any) -> None:
    before = load(tied).fingerprint()
    rewrite(tied, lambda state: state.update({HEAD: state[EMBEDDING]}))
    assert load(tied).fingerprint() == before


def test_a_tied_model_saved_by_its_head_alone(tied: Path, rewrite: Any) -> None:
    before = load(tied).fingerprint()
    rewrite(tied, lambda state: state.update({HEAD: state.pop(EMBEDDING)}))
    assert load(tied).fingerprint() == before


@pytest.mark.parametrize("place", [(0, 0), (63, 31), (17, 5)])
def test_a_tied_head_that_differs_is_refused(
    tied: Path, rewrite: Any, place: tuple[int, int]
) -> None:
    def differ(state: State) -> None:
        state[HEAD] = state[EMBEDDING].clone()
        state[HEAD][place] += 0.5

    rewrite(tied, differ)
    with pytest.raises(BackboneError, match=r"must be equal where .*tie_word_embeddings, got two"):
        load(tied)
    change_config(tied, tie_word_embeddings=False)
    assert (
        load(tied).model.lm_head.weight[place] != load(tied).model.model.embed_tokens.weight[place]
    )


def test_an_untied_model_without_a_head_is_refused(tied: Path, rewrite: Any) -> None:
    rewrite(tied, lambda state: None)
    change_config(tied, tie_word_embeddings=False)
    with pytest.raises(BackboneError, match=r"must hold every parameter .*lm_head.*\(1 missing\)"):
        load(tied)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_old_rotary_buffers_that_agree_are_accepted(
    folder: Path, rewrite: Any, dtype: torch.dtype
) -> None:
    before = load(folder).fingerprint()
    rewrite(folder, lambda state: state.update({ROTARY: frequencies().to(dtype)}))
    assert load(folder).fingerprint() == before


@pytest.mark.parametrize(
    "stored", [frequencies(500_000.0), torch.ones(4), frequencies()[:3], frequencies() / 4]
)
def test_old_rotary_buffers_that_differ_are_refused(
    folder: Path, rewrite: Any, stored: Any
) -> None:
    rewrite(folder, lambda state: state.update({ROTARY: stored}))
    with pytest.raises(BackboneError, match=rf"must be used .*got {ROTARY} \(1 unused\)"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        (QUERY, (3, 4), math.nan),
        (EMBEDDING, (60, 0), math.inf),
        ("model.norm.weight", (31,), -math.inf),
        ("model.layers.0.mlp.down_proj.weight", (0, 47), math.nan),
    ],
)
def test_a_weight_that_is_no_number_is_named(
    folder: Path, rewrite: Any, name: str, place: tuple[int, ...], value: float
) -> None:
    rewrite(folder, lambda state: state[name].__setitem__(place, value))
    with pytest.raises(
        BackboneError, match=rf"must be a finite number, got 1 NaN or infinite of \d+ in {name}:"
    ):
        load(folder)


@pytest.mark.parametrize("value", [7e4, -1e5])
def test_a_weight_beyond_float16_names_the_dtype(folder: Path, rewrite: Any, value: float) -> None:
    rewrite(folder, lambda state: state[QUERY].__setitem__((0, 0), value))
    load(folder)
    with pytest.raises(BackboneError, match=rf"in {QUERY}: .*backbone\.dtype=bfloat16 if they"):
        load(folder, dtype="float16")


def test_logits_that_overflow_do_not_blame_the_architecture(folder: Path, rewrite: Any) -> None:
    rewrite(folder, lambda state: state["model.norm.weight"].fill_(3e38))
    with pytest.raises(BackboneError, match=r"must give finite logits, got NaN .*in float32"):
        load(folder)


@pytest.mark.parametrize("rows", [60, 63, 70])
def test_another_vocabulary_size_is_named(folder: Path, rewrite: Any, rows: int) -> None:
    rewrite(folder, lambda state: None)
    change_config(folder, vocab_size=rows)
    with pytest.raises(
        BackboneError,
        match=rf"vocab_size in .*config\.json must be the number of rows .*got {rows} and 64 rows",
    ):
        load(folder)


@pytest.mark.parametrize(("token_id", "is_refused"), [(63, False), (64, True), (200, True)])
def test_a_tokenizer_with_ids_beyond_the_embedding_is_refused(
    tmp_path: Path, token_id: int, is_refused: bool
) -> None:
    folder = save_tiny(tmp_path / "checkpoint")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["far"] = token_id
    file.write_text(json.dumps(content))
    if not is_refused:
        assert load(folder).tokenizer.convert_tokens_to_ids("far") == token_id
        return
    with pytest.raises(
        BackboneError, match=rf"at most .*64 tokens, .* got {token_id + 1}: .*added"
    ):
        load(folder)


def test_old_constant_buffers_are_accepted_and_others_refused(tmp_path: Path) -> None:
    """GPT-2's causal mask and the number for minus infinity, which old checkpoints hold for each layer."""
    from safetensors.torch import load_file, save_file

    folder = save_tiny(tmp_path / "gpt2", "gpt2")
    file = folder / "model.safetensors"
    mask, lowest = "transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"
    before, state = load(folder).fingerprint(), load_file(file)
    whole = torch.ones(1, 1, 256, 256, dtype=torch.uint8).tril()
    save_file({**state, mask: whole, lowest: torch.tensor(-1e4)}, file, {"format": "pt"})
    assert load(folder).fingerprint() == before
    save_file({**state, mask: torch.ones_like(whole)}, file, {"format": "pt"})
    with pytest.raises(BackboneError, match=rf"must be used .*got {mask} \(1 unused\)"):
        load(folder)
