"""Prefix tuning, P-tuning v2 and prompt tuning against peft: logits and one training step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method, pad_left

TOKENS = 5
CHANGES: dict[str, dict[str, Any]] = {
    "ptuning_v2": {"num_virtual_tokens": TOKENS},
    "prefix_tuning": {"num_virtual_tokens": TOKENS, "encoder_hidden_size": 12},
    "prompt_tuning": {"num_virtual_tokens": TOKENS},
}
OURS = {"ptuning_v2": "prefix.", "prefix_tuning": "prefix.", "prompt_tuning": "prompt."}


def peft_model(backbone: Any, name: str) -> Any:
    import peft

    if name == "prompt_tuning":
        config: Any = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS)
    else:
        config = peft.PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=TOKENS,
            prefix_projection=name == "prefix_tuning",
            encoder_hidden_size=12,
        )
    return peft.get_peft_model(backbone.model, config)


def theirs_of(reference: Any, name: str) -> dict[str, torch.nn.Parameter]:
    """peft's trainable tensors under our names."""
    found = dict(reference.prompt_encoder["default"].named_parameters())
    return {
        OURS[name] + key.replace("embedding.weight", "embedding"): p for key, p in found.items()
    }


def pair_of(
    name: str, load_tiny: Callable[..., Any], family: str = "llama"
) -> tuple[AdaptedModel, Any, dict[str, Any]]:
    """Our model and peft's with the same random tensors."""
    adapted = AdaptedModel(load_tiny(family), build_method(name, **CHANGES[name]))
    reference = peft_model(load_tiny(family), name)
    theirs = theirs_of(reference, name)
    own = dict(adapted.adapter.named_parameters())
    assert set(own) == set(theirs)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
            theirs[key].copy_(parameter)
    return adapted, reference, theirs


def peft_logits(reference: Any, batch: Any, name: str) -> tuple[Any, torch.Tensor]:
    """peft's output, and its logits at the positions of our batch."""
    output = reference(
        input_ids=batch.input_ids_BT,
        attention_mask=batch.attention_mask_BT.long(),
        labels=batch.labels_BT,
    )
    skipped = TOKENS if name == "prompt_tuning" else 0
    logits = output.logits[:, skipped:]
    return output, logits[:, :-1][batch.labels_BT[:, 1:] != -100]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_logits_and_one_training_step_equal_peft(
    name: str, family: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """GPT-2 has learned positions: a token's own counts what stands before it, virtual tokens included."""
    batch = make_batch()
    adapted, reference, theirs = pair_of(name, load_tiny, family)
    output, expected = peft_logits(reference, batch, name)
    given, _ = adapted.answer_logits(batch)
    torch.testing.assert_close(given, expected, rtol=0, atol=2e-5)
    left, _ = adapted.answer_logits(pad_left(batch))
    torch.testing.assert_close(left, expected, rtol=0, atol=2e-5)
    loss, count = adapted(batch)
    torch.testing.assert_close(loss / count, output.loss, rtol=1e-5, atol=1e-6)
    own = dict(adapted.adapter.named_parameters())
    for parameters, value in ((own, loss / count), (theirs, output.loss)):
        value.backward()
        torch.optim.SGD(list(parameters.values()), lr=0.5).step()
    for key, parameter in own.items():
        assert parameter.grad is not None and parameter.grad.any(), key
        torch.testing.assert_close(parameter, theirs[key], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # peft's own
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_generated_tokens_equal_pefts(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """One prompt at a time: peft itself has no positions that follow the padding."""
    adapted, reference, _ = pair_of(name, load_tiny)
    adapted.eval()
    reference.eval()
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    for seed in range(3):
        ids = make_batch(((5 + seed, 1),), seed=seed).input_ids_BT[:, :-1]
        mask = torch.ones_like(ids)
        expected = reference.generate(input_ids=ids, attention_mask=mask, **options)
        with torch.no_grad(), adapted.context(mask).active():
            given = adapted.model.generate(input_ids=ids, attention_mask=mask, **options)
        assert torch.equal(given[:, ids.shape[1] :], expected[:, ids.shape[1] :])


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_eager_attention_gives_the_same(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    given = []
    for chosen in ("sdpa", "eager"):
        torch.manual_seed(0)
        backbone = load_tiny(attn_implementation=chosen)
        adapted = AdaptedModel(backbone, build_method(name, **CHANGES[name]))
        given.append(adapted.answer_logits(batch)[0])
    torch.testing.assert_close(given[0], given[1], rtol=0, atol=2e-5)


def test_dropout_acts_on_the_prefix_in_training_alone(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    from pedro_bench.methods.prefix_tuning.layers import KeyValuePrefix

    prefix = KeyValuePrefix(50, [20, 20], encoder_hidden_size=None, dropout=0.4)
    dropped = torch.cat(prefix(3, torch.float32), dim=2)
    zeros = dropped == 0
    assert 0.3 < float(zeros.float().mean()) < 0.5
    assert not torch.equal(zeros[0], zeros[1])
    whole = torch.cat(prefix.eval()(3, torch.float32), dim=2)
    torch.testing.assert_close(dropped[~zeros], whole[~zeros] / 0.6)


def test_the_start_of_the_prefix() -> None:
    from pedro_bench.methods.prefix_tuning.layers import KeyValuePrefix

    plain = KeyValuePrefix(64, [32] * 8, encoder_hidden_size=None, dropout=0.0)
    assert float(plain.embedding.detach().std()) == pytest.approx(0.02, rel=0.05)
    made = KeyValuePrefix(64, [32] * 8, encoder_hidden_size=16, dropout=0.0)
    assert made.embedding.shape == (64, 32)
    assert float(made.embedding.detach().std()) == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_the_start_of_virtual_tokens_is_real_tokens(
    family: str, load_tiny: Callable[..., Any]
) -> None:
    """As the first layer gets them: Gemma's embedding is scaled."""
    backbone = load_tiny(family)
    table = backbone.model.get_input_embeddings()(torch.arange(64)).detach()
    adapted = AdaptedModel(backbone, build_method("prompt_tuning"))
    start = adapted.adapter.prompt.embedding.detach()
    assert start.shape == (64, 32)
    nearest = (start[:, None] - table).abs().amax(dim=2).min(dim=1)
    assert float(nearest.values.max()) == 0
    assert len(set(nearest.indices.tolist())) > 20


def test_parameters_on_llama2_7b() -> None:

    from pedro_bench.protocols.settings import build_group
    from tests.tiny import CONF, read_yaml

    config = read_yaml(CONF / "backbone" / "llama2_7b.yaml")
    shape = build_group("backbone", config).shape()
    whole = build_method("ptuning_v2").count(shape)
    assert (whole.matrices, whole.trainable) == (16_777_216, 16_777_216)
    assert build_method("ptuning_v2", num_virtual_tokens=36).count(shape).matrices == 9_437_184
    for name in ("prompt_tuning", "infix_tuning"):
        tokens = build_method(name).count(shape)
        assert tokens.matrices == tokens.trainable == 64 * 4096
    made = build_method("prefix_tuning").count(shape)
    assert made.matrices == (64 + 512) * 4096 + 512 * 32 * 2 * 4096
    assert made.trainable == made.matrices + 512 + 32 * 2 * 4096


def test_flash_attention_is_refused(load_tiny: Callable[..., Any]) -> None:
    from pedro_bench.errors import InjectionError

    backbone = load_tiny()
    backbone.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(
        InjectionError, match=r"backbone.attn_implementation must be sdpa or eager .*'ptuning_v2'"
    ):
        AdaptedModel(backbone, build_method("ptuning_v2"))


@pytest.mark.parametrize("name", ["ptuning_v2", "prefix_tuning"])
def test_gradient_checkpointing_repeats_the_dropout(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    adapted = AdaptedModel(load_tiny(), build_method(name, **CHANGES[name], dropout=0.3))
    adapted.train()
    gradients = []
    for is_checkpointing in (False, True):
        if is_checkpointing:
            adapted.enable_gradient_checkpointing()
        adapted.zero_grad()
        torch.manual_seed(7)
        adapted(make_batch())[0].backward()
        gradients.append(
            [p.grad.clone() for p in adapted.adapter.parameters() if p.grad is not None]
        )
    assert len(gradients[0]) == len(list(adapted.adapter.parameters()))
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))
