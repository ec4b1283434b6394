"""Contract of encoder-decoders: what is read and written, and every method on them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.errors import ContextError, InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.runs.forgetting import Unchanged
from tests.tiny import METHOD_NAMES, SEQ2SEQ, build_method, pad_left

QUICK = ("pedro", "lora", "ia3", "red", "prompt_tuning", "prefix_tuning")
LENGTHS = ((6, 2), (12, 4), (3, 1))

every_layout = pytest.mark.parametrize("layout", SEQ2SEQ)


def attach(backbone: Any, method: str) -> AdaptedModel:
    torch.manual_seed(1)
    return AdaptedModel(backbone, build_method(method))


def perturb(adapted: AdaptedModel) -> None:
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))


@every_layout
def test_the_loss_is_that_of_transformers(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any], layout: str
) -> None:
    """Row by row, with the prompt's end and the answer as labels."""
    backbone, batch = load_tiny(layout), make_batch(LENGTHS)
    adapted = AdaptedModel(backbone, Unchanged(name="none", label="none")).eval()
    with torch.no_grad():
        found, count = adapted(batch)
    adapted.remove()
    expected = 0.0
    for ids, prompt, labels in zip(
        batch.input_ids_BT, batch.prompt_mask_BT, batch.labels_BT, strict=True
    ):
        given = torch.cat([ids[prompt], torch.tensor([2])])[None]
        answer = labels[labels != -100][None]
        with torch.no_grad():
            expected += float(backbone.model(input_ids=given, labels=answer).loss) * answer.numel()
    assert int(count) == 7
    assert float(found) == pytest.approx(expected, rel=1e-5)


@every_layout
def test_roles_are_found_in_both_stacks(load_tiny: Callable[..., Any], layout: str) -> None:
    backbone = load_tiny(layout)
    shape = backbone.shape
    assert shape.num_layers == 4
    assert shape.num_parameters == sum(p.numel() for p in backbone.model.parameters())
    for role in shape.widths[0]:
        paths = [site.path for site in backbone.sites(role)]
        assert [path.partition(".")[0] for path in paths] == ["encoder"] * 2 + ["decoder"] * 2
    assert bool(backbone.sites("ffn_gate")) == (layout == "t5_gated")
    assert "SelfAttention" in backbone.sites("query")[3].path


@every_layout
@pytest.mark.parametrize(
    "method",
    [
        one if one in QUICK else pytest.param(one, marks=pytest.mark.slow)
        for one in sorted({*METHOD_NAMES, *QUICK})
    ],
)
def test_a_method_on_an_encoder_decoder(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any], layout: str, method: str
) -> None:
    """It trains, padding and neighbours do not matter, it writes what whole passes give, no trace."""
    backbone = load_tiny(layout)
    fingerprint = backbone.fingerprint()
    if build_method(method).num_positions:
        with pytest.raises(InjectionError, match="must move positions on, which a bias of the att"):
            attach(backbone, method)
        return
    if method == "loreft":
        with pytest.raises(
            InjectionError, match="must find the prompt's tokens in every layer, got"
        ):
            attach(backbone, method)
        return
    adapted = attach(backbone, method)
    count, own = adapted.method.count(backbone.shape), adapted.adapter.parameters()
    if not adapted.method.counts_last_phase:
        assert sum(p.numel() for p in own) == count.trainable
    perturb(adapted)
    adapted.eval()
    batch = make_batch(LENGTHS)
    adapted(batch)[0].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in adapted.adapter.parameters())
    with torch.no_grad():
        logits = adapted.answer_logits(batch)[0]
        left = adapted.answer_logits(pad_left(batch))[0]
        alone = adapted.answer_logits(make_batch(((6, 2),)))[0]
    torch.testing.assert_close(left, logits, rtol=0, atol=2e-5)
    torch.testing.assert_close(alone, logits[:2], rtol=0, atol=2e-5)
    for num_beams in (1, 3):
        _writes_the_likeliest(adapted, num_beams)
    adapted.remove()
    assert backbone.fingerprint() == fingerprint


def _writes_the_likeliest(adapted: AdaptedModel, num_beams: int) -> None:
    """Greedy text is that of whole passes; of beams, a prompt's text does not depend on its neighbours."""
    prompts = [Encoded((1, 9, 12, 7), (), 0), Encoded((1, 30), (), 1)]
    settings = {"num_beams": num_beams, "max_new_tokens": 4, "batch_size": 2}
    texts = generate(adapted, prompts, **settings)
    assert texts == [generate(adapted, [one], **settings)[0] for one in prompts]
    if num_beams > 1:
        return
    backbone = adapted.backbone
    for prompt, text in zip(prompts, texts, strict=True):
        ids = torch.tensor([[*prompt.prompt_ids, 2]])
        made = [0]
        for _ in range(4):
            with torch.no_grad(), adapted.context(torch.ones_like(ids).bool()).active():
                given = torch.tensor([made])
                logits = backbone.model(
                    input_ids=ids, decoder_input_ids=given, use_cache=False
                ).logits
            made.append(int(logits[0, -1].argmax()))
            if made[-1] == 2:
                break
        assert backbone.tokenizer.decode(made[1:], skip_special_tokens=True) == text


def test_generators_of_the_decoder_read_the_encoders_output(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backbone, batch = load_tiny("t5"), make_batch(((5, 3),))
    adapted = attach(backbone, "pedro").eval()
    perturb(adapted)
    seen: list[torch.Tensor] = []
    generator = adapted.adapter.get_submodule("layers.3.generator")
    generator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    read: list[torch.Tensor] = []
    backbone.stacks[0].register_forward_hook(lambda _, __, output: read.append(output[0]))
    with torch.no_grad():
        adapted.answer_logits(batch)
    assert len(seen) == 1
    assert torch.equal(seen[0], read[0])
    assert seen[0].shape == (1, 6, 32), "the prompt and its end"


def test_what_an_encoder_decoder_cannot_do_is_refused(load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny("t5")
    adapted = attach(backbone, "lora")
    mask = torch.ones(2, 3).bool()
    with (
        adapted.context(mask).active(),
        pytest.raises(ContextError, match="must follow the prompts"),
    ):
        backbone.stacks[1](input_ids=torch.ones(2, 1).long(), use_cache=False)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generators_of_both_stacks_run_once_in_a_generation(
    load_tiny: Callable[..., Any], num_beams: int
) -> None:
    adapted = attach(load_tiny("t5"), "pedro").eval()
    perturb(adapted)
    calls = dict.fromkeys(range(4), 0)

    def count(layer: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls[layer] += 1

        return hook

    for layer in calls:
        generator = adapted.adapter.get_submodule(f"layers.{layer}.generator")
        generator.register_forward_pre_hook(count(layer))
    backbone = adapted.backbone
    ids_BT = torch.tensor([[1, 9, 12, 7, 2], [1, 30, 2, 0, 0]])
    mask_BT = ids_BT != 0
    with torch.no_grad(), adapted.context(mask_BT).active() as context:
        encoded = backbone.stacks[0](input_ids=ids_BT, attention_mask=mask_BT.long())
        context.expand(num_beams)
        made = backbone.model.generate(
            encoder_outputs=encoded,
            attention_mask=mask_BT.long(),
            num_beams=num_beams,
            do_sample=False,
            min_new_tokens=4,
            max_new_tokens=4,
        )
    assert made.shape == (2, 5)
    assert calls == dict.fromkeys(range(4), 1)
