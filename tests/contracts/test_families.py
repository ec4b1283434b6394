"""Contract of families: what a role is in each layout, and a few methods on each family.

All methods on all families are the slow part of `test_methods.py`.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.injection import BackboneInjection
from pedro_bench.protocols.backbone import GATE, LINEAR_ROLES, Columns
from pedro_bench.protocols.batch import Encoded
from tests.tiny import CONFIGS, ENCODERS, SEQ2SEQ, build_method, pad_left

LAYOUTS = [name for name in CONFIGS if name not in ("llama", "gemma", *SEQ2SEQ)]
METHODS = ("pedro", "lora", "ia3", "red", "prefix_tuning", "prompt_tuning", "infix_tuning", "lpt")
IDS = torch.tensor([[1, 5, 9, 12, 40, 7], [1, 7, 33, 2, 6, 8]])

every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def run(backbone: Any, ids_BT: torch.Tensor = IDS) -> torch.Tensor:
    """Return the logits (B, T, V) of the bare model."""
    with torch.no_grad():
        return backbone.model(input_ids=ids_BT)[0]


def first_attention(backbone: Any) -> tuple[Any, torch.Tensor]:
    """Run the model; return the module behind attention in the first layer, and what it was given."""
    (site,) = backbone.sites("attn_out")[:1]
    given: list[torch.Tensor] = []
    handle = site.module.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    run(backbone)
    handle.remove()
    return site, given[0]


@every_layout
def test_every_role_is_found_in_every_layer(load_tiny: Callable[..., Any], layout: str) -> None:
    backbone = load_tiny(layout)
    shape = backbone.shape
    assert shape.num_parameters == sum(p.numel() for p in backbone.model.parameters())
    has_gate = layout == "phi3"
    for role in LINEAR_ROLES:
        sites = backbone.sites(role)
        expected = [] if role == GATE and not has_gate else list(range(shape.num_layers))
        assert [site.layer for site in sites] == expected, role
        for site in sites:
            assert site.module is backbone.model.get_submodule(site.path)
            assert site.weight().flatten(0, 1).shape == (site.outputs, site.inputs)
            site.weight().zero_()  # it is the module's own memory
            assert bool((site.module.weight == 0).any())
    assert [site.layer for site in backbone.sites("block")] == [0, 1]
    assert None in {site.layer for site in backbone.sites("norm")}


@every_layout
def test_fused_roles_share_no_column_and_leave_none(
    load_tiny: Callable[..., Any], layout: str
) -> None:
    backbone = load_tiny(layout)
    for fused in (("query", "key", "value"), ("ffn_gate", "ffn_up")):
        sites = [site for role in fused for site in backbone.sites(role)[:1] if site.columns]
        if not sites:
            continue
        transposed = sites[0].is_transposed
        numbers = torch.arange(sites[0].module.weight.shape[1 if transposed else 0])
        taken = torch.cat([site.columns.take(numbers) for site in sites])
        assert torch.equal(taken.sort().values, numbers)


@every_layout
def test_scaled_columns_are_the_role_that_they_are_named_for(
    load_tiny: Callable[..., Any], layout: str
) -> None:
    """Without queries, or without keys, attention is a mean; a value scaled by two comes out doubled."""
    backbone = load_tiny(layout)
    _, plain = first_attention(backbone)

    def scaled(role: str, factor: torch.Tensor | float) -> torch.Tensor:
        injection = BackboneInjection(backbone, "test")
        injection.on_output(backbone.sites(role)[0], lambda _, output: output * factor)
        _, given = first_attention(backbone)
        injection.undo()
        return given

    torch.testing.assert_close(scaled("value", 2.0), 2 * plain)
    without_queries, without_keys = scaled("query", 0.0), scaled("key", 0.0)
    assert not torch.allclose(without_queries, plain, atol=1e-3)
    torch.testing.assert_close(without_queries, without_keys)
    # the first value head reaches the first heads of the output and no others
    (value,) = backbone.sites("value")[:1]
    heads = backbone.model.config.num_attention_heads
    width = backbone.shape.hidden_size // heads
    reached = width * heads * width // value.outputs
    first = torch.ones(value.outputs)
    first[:width] = 3.0
    changed = scaled("value", first)
    torch.testing.assert_close(changed[..., :reached], 3 * plain[..., :reached])
    assert torch.equal(changed[..., reached:], plain[..., reached:])


@every_layout
def test_the_up_projection_and_the_gate_of_the_feed_forward_network(
    load_tiny: Callable[..., Any], layout: str
) -> None:
    """Doubling U doubles the input of the down-projection where there is a gate, and not without."""
    backbone = load_tiny(layout)
    (down,) = backbone.sites("ffn_down")[:1]

    def given() -> torch.Tensor:
        seen: list[torch.Tensor] = []
        handle = down.module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        run(backbone)
        handle.remove()
        return seen[0]

    plain = given()
    injection = BackboneInjection(backbone, "test")
    injection.on_output(backbone.sites("ffn_up")[0], lambda _, output: output * 2)
    doubled = given()
    injection.undo()
    assert torch.allclose(doubled, 2 * plain) == bool(backbone.sites(GATE))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_columns_changed_in_place_are_put_back(groups: int, rows: int) -> None:
    """Of one row and one token, too: what is taken of one group is the output's own memory."""
    whole = torch.arange(12.0).repeat(rows, 1, 1)
    columns = Columns(start=2, width=3, groups=groups)
    changed = whole.unflatten(2, (groups, -1)).clone()
    changed[..., 2:5] *= -1
    part = columns.take(whole)
    columns.put(whole, part.neg_())
    assert torch.equal(whole, changed.flatten(2))


@pytest.mark.parametrize("name", ["pedro", "ia3", "bitfit"])
@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one not in ENCODERS])
def test_one_prompt_is_answered_alone_as_among_others(
    load_tiny: Callable[..., Any], layout: str, name: str
) -> None:
    """By greedy decoding, whose steps then are of one row and one token."""
    torch.manual_seed(1)
    adapted = AdaptedModel(load_tiny(layout), build_method(name)).eval()
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    prompts = [Encoded((1, 9, 12, 7, 30), (), 0), Encoded((1,), (), 1)]
    alone, together = (
        generate(adapted, prompts, num_beams=1, max_new_tokens=4, batch_size=size)
        for size in (1, 2)
    )
    assert alone == together


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one not in ENCODERS])
def test_a_method_on_a_family(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any], layout: str, name: str
) -> None:
    """Counted in closed form, padding without effect, cache and no cache alike, removed without a trace."""
    backbone = load_tiny(layout)
    method = build_method(name)
    expected, fingerprint = run(backbone), backbone.fingerprint()
    torch.manual_seed(1)
    if layout == "falcon_alibi" and method.num_positions:
        with pytest.raises(
            Exception, match="must move positions on, which a bias of the attention"
        ):
            AdaptedModel(backbone, method)
        assert torch.equal(run(backbone), expected)
        return
    adapted = AdaptedModel(backbone, method).eval()
    assert method.count(backbone.shape).trainable == sum(
        p.numel() for p in adapted.adapter.parameters()
    )
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    batch = make_batch(((6, 2), (12, 4), (3, 1)))
    adapted(batch)[0].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in adapted.adapter.parameters())
    with torch.no_grad():
        logits = adapted.answer_logits(batch)[0]
        left = adapted.answer_logits(pad_left(batch))[0]
        alone = adapted.answer_logits(make_batch(((6, 2),)))[0]
    torch.testing.assert_close(left, logits, rtol=0, atol=5e-5)
    torch.testing.assert_close(alone, logits[:2], rtol=0, atol=5e-5)
    _decodes_as_without_a_cache(adapted, pad_left(make_batch(((7, 1), (4, 1), (5, 1)))))
    adapted.remove()
    assert torch.equal(run(backbone), expected)
    assert backbone.fingerprint() == fingerprint


def _decodes_as_without_a_cache(adapted: AdaptedModel, batch: Any) -> None:
    ids, mask = batch.input_ids_BT[:, :-1], batch.attention_mask_BT[:, :-1].long()
    model = adapted.backbone.model
    with torch.no_grad(), adapted.context(mask.bool()).active():
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, pad_token_id=0
        )[:, ids.shape[1] :]
    prompt = torch.cat([mask.bool(), torch.zeros_like(made).bool()], 1)
    full = torch.cat([mask, torch.ones_like(made)], 1)
    with torch.no_grad(), adapted.context(prompt).active():
        logits = model(
            input_ids=torch.cat([ids, made], 1),
            attention_mask=full,
            position_ids=(full.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        ).logits[:, ids.shape[1] - 1 : -1]
    logits[:, :, 2] = float("-inf")
    assert torch.equal(logits.argmax(-1), made)
