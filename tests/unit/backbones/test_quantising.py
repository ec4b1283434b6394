"""Quantised backbones: what they compute, what trains on them, what they take, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from pedro_bench.backbones import quantising
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.backbones.quantising import INT8, NF4, QUANTIZATIONS
from pedro_bench.errors import BackboneError, ConfigError, InjectionError
from pedro_bench.grid.costs import modelled_cost
from pedro_bench.methods.lora import Lora
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import METHOD_NAMES, build_method, save_tiny

pytest.importorskip("bitsandbytes", reason="needs the extra quantization")

TRAINS_WEIGHTS = {name for name in METHOD_NAMES if name.startswith(("full_ft", "ft_top2"))}
GIB = 2**30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose matrices have whole blocks of 64 weights."""
    place = tmp_path_factory.mktemp("quantised")
    return save_tiny(place, hidden_size=64, intermediate_size=128, head_dim=16)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[str | None, Any]:
    """The backbone as it is, and quantised in each way; methods come and go."""
    return {kind: make(folder, quantization=kind).load(device="cpu") for kind in (None, NF4, INT8)}


def make(path: Path, **options: Any) -> Pretrained:
    return Pretrained(**{"name": "test", "label": "Test", "path": str(path), **options})


def linears(model: Any) -> dict[str, nn.Linear]:
    head = model.get_output_embeddings()
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def dequantised_copy(plain: Any, quantised: Any) -> dict[str, torch.Tensor]:
    """Give a plain model the weights that a quantised one computes with; return what it had."""
    before = {}
    for path, module in linears(quantised.model).items():
        own = plain.model.get_submodule(path)
        before[path] = own.weight.detach().clone()
        own.weight.data.copy_(quantising.dequantised(module))
    return before


def test_logits_are_those_of_transformers_own_reading(
    folder: Path, loaded: dict[str | None, Any]
) -> None:
    ids = torch.tensor([[1, 5, 9, 7]])
    ways = {
        NF4: {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
        },
        INT8: {"load_in_8bit": True},
    }
    for kind, way in ways.items():
        config = transformers.BitsAndBytesConfig(**way, bnb_4bit_compute_dtype=torch.float32)
        other = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, quantization_config=config
        ).eval()
        for module in other.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        with torch.no_grad():
            expected = other(input_ids=ids).logits
            assert torch.equal(loaded[kind].model(input_ids=ids).logits, expected)


def test_nf4_is_the_nearest_level_times_the_blocks_scale(loaded: dict[str | None, Any]) -> None:
    """Dettmers et al. 2023, appendix E; the scales' own rounding moves them by up to a hundredth."""
    below = (-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0)
    above = (0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0)
    levels = torch.tensor((*below, *above))
    for path, module in linears(loaded[NF4].model).items():
        blocks = loaded[None].model.get_submodule(path).weight.detach().reshape(-1, 64)
        scales = blocks.abs().amax(dim=1, keepdim=True)
        nearest = (blocks / scales).unsqueeze(-1).sub(levels).abs().argmin(-1)
        expected = levels[nearest] * scales
        found = quantising.dequantised(module).reshape(-1, 64)
        torch.testing.assert_close(found, expected, rtol=0.05, atol=1e-6)


def test_int8_is_the_rounded_share_of_an_outputs_greatest_weight(
    loaded: dict[str | None, Any],
) -> None:
    for path, module in linears(loaded[INT8].model).items():
        weight = loaded[None].model.get_submodule(path).weight.detach()
        step = weight.abs().amax(dim=1, keepdim=True) / 127  # weights are rounded to 16 bits before
        found = quantising.dequantised(module)
        assert ((found - weight).abs() <= 0.6 * step).all()


@pytest.mark.parametrize("kind", QUANTIZATIONS)
@pytest.mark.parametrize("name", ["lora", "dora", "pedro", "ia3", "houlsby_adapter"])
def test_gradients_are_those_of_the_dequantised_weights(
    name: str, kind: str, loaded: dict[str | None, Any], make_batch: Callable[..., Any]
) -> None:
    before = dequantised_copy(loaded[None], loaded[kind])
    try:
        found, expected = (gradients(loaded[one], name, make_batch()) for one in (kind, None))
    finally:
        for path, weight in before.items():
            loaded[None].model.get_submodule(path).weight.data.copy_(weight)
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    if kind == NF4:
        for path, gradient in found.items():
            torch.testing.assert_close(gradient, expected[path], rtol=1e-3, atol=1e-5)
    whole = [torch.cat([one.flatten() for one in own.values()]) for own in (found, expected)]
    away = (whole[0] - whole[1]).norm() / whole[1].norm()
    assert away < (1e-4 if kind == NF4 else 0.1), "int8 rounds activations too"


def gradients(backbone: Any, name: str, batch: Any) -> dict[str, torch.Tensor]:
    """Return the gradients of a method whose parameters are all moved from where they start."""
    torch.manual_seed(0)
    adapted = AdaptedModel(backbone, build_method(name))
    try:
        for parameter in adapted.adapter.parameters():
            parameter.data.add_(0.02 * torch.randn_like(parameter))
        loss, count = adapted(batch)
        (loss / count).backward()
        found = {path: one.grad.clone() for path, one in adapted.adapter.named_parameters()}
    finally:
        adapted.remove()
    return found


BESIDE = [one for one in METHOD_NAMES if one not in TRAINS_WEIGHTS]


@pytest.mark.parametrize(
    ("name", "kind"), [*((one, NF4) for one in BESIDE), ("lora", INT8), ("pedro", INT8)]
)
def test_every_method_that_leaves_weights_alone_trains_beside_them(
    name: str, kind: str, loaded: dict[str | None, Any], make_batch: Callable[..., Any]
) -> None:
    backbone = loaded[kind]
    before = backbone.fingerprint()
    adapted = AdaptedModel(backbone, build_method(name))
    try:
        loss, _ = adapted(make_batch())
        loss.backward()
        parameters = list(adapted.adapter.parameters())
        assert {one.dtype for one in parameters} == {torch.float32}
        moved = [one for one in parameters if one.grad is not None and one.grad.abs().max() > 0]
        assert moved
        assert all(torch.isfinite(one.grad).all() for one in moved)
        assert all(one.grad is None for one in backbone.model.parameters())
    finally:
        adapted.remove()
    with torch.no_grad():
        backbone.model(input_ids=torch.tensor([[1, 5, 9]]))
    assert backbone.fingerprint() == before, "no pass changes a bit of it"


@pytest.mark.parametrize("name", sorted(TRAINS_WEIGHTS))
def test_what_trains_the_weights_is_refused(name: str, loaded: dict[str | None, Any]) -> None:
    with pytest.raises(InjectionError, match=r"got quantised ones in .*backbone\.quantization"):
        AdaptedModel(loaded[NF4], build_method(name))
    AdaptedModel(loaded[NF4], build_method("lora")).remove()


def test_merging_is_refused_with_the_reason(loaded: dict[str | None, Any]) -> None:
    from pedro_bench.efficiency.systems import merged

    method = build_method("lora")
    assert isinstance(method, Lora)
    with (
        pytest.raises(InjectionError, match=r"merged into must be plain .*rounding would lose"),
        merged(loaded[NF4], method, 0),
    ):
        pass


@pytest.mark.parametrize(("kind", "bits"), [(NF4, 4.2), (INT8, 8.6)])
def test_the_frozen_part_takes_less_memory(
    kind: str, bits: float, loaded: dict[str | None, Any]
) -> None:
    total = sum(module.weight.numel() for module in linears(loaded[None].model).values())
    held = 0
    for module in linears(loaded[kind].model).values():
        held += module.weight.numel() * module.weight.itemsize
        state = getattr(module.weight, "quant_state", None)
        held += state.absmax.numel() if state is not None else 4 * module.out_features
    assert 4 <= held * 8 / total < bits
    promised = quantising.weight_bytes(loaded[kind].shape, kind, 4)
    others = 4 * (loaded[kind].shape.num_parameters - total)
    assert promised == pytest.approx(held + others, rel=0.05)
    assert loaded[kind].shape == loaded[None].shape, "counts are of the model, not of its bytes"


def test_identity_and_record_say_how_weights_were_read(
    folder: Path, loaded: dict[str | None, Any]
) -> None:
    plain = make(folder).identity()
    for kind in QUANTIZATIONS:
        backbone = make(folder, quantization=kind)
        assert backbone.identity() == f"{plain} {kind}" == loaded[kind].revision
        assert loaded[kind].content() == f"{plain} {kind}"
    assert loaded[NF4].fingerprint() != loaded[None].fingerprint()


def test_transposed_and_fused_layers_are_quantised_too(tmp_path: Path) -> None:
    sizes = {"n_embd": 64, "n_inner": 128, "n_layer": 2, "n_head": 4}
    place = save_tiny(tmp_path / "gpt2", "gpt2", **sizes)
    plain, quantised = (make(place, quantization=kind).load(device="cpu") for kind in (None, NF4))
    assert len(linears(quantised.model)) == 2 * 4
    assert quantised.shape == plain.shape
    (site,) = [one for one in quantised.sites("value") if one.layer == 1]
    assert (site.inputs, site.outputs, site.is_transposed) == (64, 64, False)
    ids = torch.tensor([[1, 5, 9, 7]])
    with torch.no_grad():
        difference = quantised.model(input_ids=ids).logits - plain.model(input_ids=ids).logits
    assert 0 < difference.abs().mean() < 0.5


def test_another_word_and_a_missing_extra_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"backbone\.quantization .*got 'nf8'.*mean 'nf4'"):
        make(folder, quantization="nf8")
    monkeypatch.setattr(quantising, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"quantization=nf4 .*pedro_bench\[quantization\]"):
        make(folder, quantization=NF4).identity()


@pytest.mark.parametrize("name", ["lora", "pedro"])
def test_training_llama2_7b_in_nf4_fits_24_gib(name: str) -> None:
    from pedro_bench.cli.hydra.compose import settings_of

    settings = settings_of(
        f"method={name} task=boolq backbone=llama2_7b trainer=paper data=hub device=cpu "
        "trainer.micro_batch_tokens=1024".split()
    )
    whole = modelled_cost(settings).peak_bytes
    backbone = replace(settings.backbone, quantization=NF4)  # type: ignore[type-var]
    fitted = modelled_cost(replace(settings, backbone=backbone)).peak_bytes
    assert fitted < 24 * GIB < whole
    assert whole - fitted == pytest.approx(6_476_005_376 * (4 - 0.516), rel=0.001)


def test_t5_keeps_the_layers_whose_dtype_its_code_reads(tmp_path: Path) -> None:
    """Transformers casts T5's activations to the dtype of `wo`: whole numbers, were it quantised."""
    place = save_tiny(tmp_path / "t5", "t5", d_model=64, d_kv=16, d_ff=128)
    plain, quantised = (make(place, quantization=kind).load(device="cpu") for kind in (None, NF4))
    kept = 0
    for path, module in linears(quantised.model).items():
        own = plain.model.get_submodule(path)
        if path.endswith(".wo"):
            assert torch.equal(module.weight, own.weight)
            kept += 1
        else:
            own.weight.data.copy_(quantising.dequantised(module))
    assert kept == 4
    ids = torch.tensor([[5, 6, 7, 2]])
    given = {"input_ids": ids, "decoder_input_ids": ids}
    with torch.no_grad():
        expected, found = (one.model(**given).logits for one in (plain, quantised))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
