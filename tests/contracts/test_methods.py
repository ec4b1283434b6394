"""What every method must satisfy, for each YAML in conf/method and each tiny backbone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from pedro_bench.errors import ContextError, InjectionError
from pedro_bench.nn import adapted_model
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import CONFIGS, ENCODERS, METHOD_NAMES, SEQ2SEQ, build_method, pad_left

FAMILIES = [
    name if name in ("llama", "gemma") else pytest.param(name, marks=pytest.mark.slow)
    for name in CONFIGS
    if name not in (*ENCODERS, *SEQ2SEQ)
]
"""All methods on all families: those with Llama's layers always, the others in the slow run."""

FOUND = " found"
"""Stands behind the name of a method that searches: what it found, as it is retrained."""

SEARCHES = [name for name in METHOD_NAMES if build_method(name).counts_last_phase]

pytestmark = pytest.mark.parametrize("name", METHOD_NAMES + [name + FOUND for name in SEARCHES])


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest, load_tiny: Callable[..., Any]) -> Any:
    return load_tiny(request.param)


def adapt(backbone: Any, name: str, seed: int = 1) -> AdaptedModel:
    torch.manual_seed(seed)
    method = build_method(name.removesuffix(FOUND))
    if name.endswith(FOUND):
        searched = AdaptedModel(backbone, method)
        perturb(searched, seed=6)
        searched.remove()
        method = method.following(searched.adapter)
        torch.manual_seed(seed)
    if not backbone.sites("positions") and method.num_positions:
        with pytest.raises(InjectionError, match="must move positions on, which a bias of the"):
            AdaptedModel(backbone, method)
        pytest.skip("the backbone knows positions by a bias of the scores alone")
    return AdaptedModel(backbone, method)


def base_logits(backbone: Any, batch: Any) -> torch.Tensor:
    """Logits of the bare backbone at the positions that predict answers."""
    with torch.no_grad():
        logits = backbone.model(
            input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT.long()
        ).logits
    return logits[:, :-1][batch.labels_BT[:, 1:] != -100].float()


def answer_logits(adapted: AdaptedModel, batch: Any) -> torch.Tensor:
    with torch.no_grad():
        return adapted.answer_logits(batch)[0]


def train_steps(adapted: AdaptedModel, batch: Any, steps: int = 3, lr: float = 0.02) -> set[str]:
    """Train; return the names of the own tensors that some step of the optimiser moved."""
    start = adapted.adapter_state()
    moved: set[str] = set()
    parameters = [p for group in adapted.parameter_groups().values() for p in group]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    adapted.train()
    for step in range(steps):
        loss, count = adapted(batch)
        total = loss / count
        extra = adapted.extra_loss()
        if extra is not None:
            total = total + extra
        total.backward()
        optimiser.step()
        state = adapted.adapter.state_dict()
        moved |= {key for key in start if not torch.equal(start[key], state[key])}
        adapted.method.after_step(adapted.adapter, step + 1, steps)
        optimiser.zero_grad()
    adapted.eval()
    return moved


def perturb(adapted: AdaptedModel, seed: int = 5) -> None:
    """Move every trained tensor off its start, so that the method really acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def trains_the_backbone(backbone: Any, name: str) -> bool:
    """Whether the method trains weights of the backbone itself."""
    own = {id(p) for p in backbone.model.parameters()}
    return any(id(p) in own for p in adapt(backbone, name).adapter.parameters())


def test_starts_at_the_backbone(name: str, backbone: Any, make_batch: Callable[..., Any]) -> None:
    batch = make_batch()
    expected = base_logits(backbone, batch)
    adapted = adapt(backbone, name)
    if not adapted.method.starts_at_backbone:
        pytest.skip("the method declares that it does not start at the backbone")
    adapted.eval()
    torch.testing.assert_close(answer_logits(adapted, batch), expected, rtol=0, atol=1e-5)


def test_equals_the_backbone_exactly_on_the_same_path(
    name: str, backbone: Any, make_batch: Callable[..., Any]
) -> None:
    batch = pad_left(make_batch())
    adapted = adapt(backbone, name)
    if not adapted.method.starts_at_backbone:
        pytest.skip("the method declares that it does not start at the backbone")
    adapted.eval()
    given = answer_logits(adapted, batch)
    adapted.remove()
    mask = batch.attention_mask_BT.long()
    with torch.no_grad():
        hidden = backbone.decoder(
            input_ids=batch.input_ids_BT,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        expected = backbone.head(hidden[:, :-1][batch.labels_BT[:, 1:] != -100])
    assert torch.equal(given, expected)


def test_trainable_set_is_exact_and_counted_in_closed_form(name: str, backbone: Any) -> None:
    adapted = adapt(backbone, name)
    method = adapted.method
    own = {id(p) for p in adapted.adapter.parameters()}
    trainable = {id(p) for p in adapted.parameters() if p.requires_grad}
    grouped = [id(p) for group in adapted.parameter_groups().values() for p in group]
    assert trainable == own == set(grouped)
    assert len(grouped) == len(own), "a parameter stands in two groups"
    saved = adapted.adapter.state_dict(keep_vars=True).values()
    assert len({id(tensor) for tensor in saved}) == len(saved), "a tensor is saved under two names"
    count = method.count(backbone.shape)
    made = sum(p.numel() for p in adapted.adapter.parameters())
    assert 0 < count.matrices <= count.trainable
    if name in SEARCHES:  # counted is what is retrained; it is exact once found
        adapted.remove()
        retrained = adapt(backbone, name + FOUND)
        assert retrained.method.count(backbone.shape).matrices <= count.matrices
        assert retrained.method.count(backbone.shape).trainable <= count.trainable
        assert retrained.method.following(retrained.adapter) is None
        return
    assert count.trainable == made


def test_training_moves_every_own_parameter_and_no_bit_of_the_backbone(
    name: str, backbone: Any, make_batch: Callable[..., Any]
) -> None:
    """What is saved with the adapter and is no parameter is a buffer: declared frozen, it stays as it is."""
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    fingerprint = backbone.fingerprint()
    adapted = adapt(backbone, name)
    moved = train_steps(adapted, make_batch(((6, 2), (9, 3), (5, 1), (8, 2))), steps=4)
    assert moved == {key for key, _ in adapted.adapter.named_parameters(remove_duplicate=False)}
    trained = {id(p) for p in adapted.adapter.parameters()}
    for key, parameter in backbone.model.named_parameters():
        if id(parameter) not in trained:
            assert torch.equal(parameter, before[key]), key
    adapted.remove()
    assert backbone.fingerprint() == fingerprint
    after = backbone.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_neighbours_and_padding_change_nothing(
    name: str, backbone: Any, make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(((6, 2), (12, 4), (3, 1)))
    alone = make_batch(((6, 2),))
    adapted = adapt(backbone, name)
    perturb(adapted)
    adapted.eval()
    together = answer_logits(adapted, batch)[:2]
    torch.testing.assert_close(answer_logits(adapted, alone), together, rtol=0, atol=2e-5)
    left = answer_logits(adapted, pad_left(batch))[:2]
    torch.testing.assert_close(left, together, rtol=0, atol=2e-5)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_cache_and_no_cache_give_the_same_text(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any], num_beams: int
) -> None:
    """Greedy: step by step with the cache, against whole sequences anew; beams: scores against them."""
    backbone = load_tiny("llama")
    adapted = adapt(backbone, name)
    perturb(adapted)
    adapted.eval()
    batch = pad_left(make_batch(((7, 1), (4, 1), (5, 1))))
    ids, mask = batch.input_ids_BT[:, :-1], batch.attention_mask_BT[:, :-1].long()
    with torch.no_grad(), adapted.context(mask.bool()).active() as context:
        if num_beams > 1:
            context.expand(num_beams)
        output = backbone.model.generate(
            input_ids=ids,
            attention_mask=mask,
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=5,
            min_new_tokens=5,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
    made = output.sequences[:, ids.shape[1] :]
    whole = torch.cat([ids, made], 1)
    prompt = torch.cat([mask.bool(), torch.zeros_like(made).bool()], 1)
    full = torch.cat([mask, torch.ones_like(made)], 1)
    with torch.no_grad(), adapted.context(prompt).active():
        logits = backbone.model(
            input_ids=whole,
            attention_mask=full,
            position_ids=(full.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        ).logits[:, ids.shape[1] - 1 : -1]
    logits[:, :, 2] = float("-inf") if num_beams == 1 else logits[:, :, 2]
    if num_beams == 1:
        assert torch.equal(logits.argmax(-1), made)
    else:
        scores = F.log_softmax(logits, -1).gather(2, made.unsqueeze(-1)).sum((1, 2)) / 5
        torch.testing.assert_close(output.sequences_scores, scores, rtol=0, atol=1e-4)


def test_save_and_load_into_a_fresh_backbone(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    batch = make_batch()
    adapted = adapt(load_tiny(), name)
    train_steps(adapted, batch)
    expected = answer_logits(adapted, batch)
    save_file(adapted.adapter_state(), tmp_path / "adapter.safetensors")
    other = adapt(load_tiny(), name, seed=9)
    other.load_adapter_state(load_file(tmp_path / "adapter.safetensors"))
    other.eval()
    assert torch.equal(answer_logits(other, batch), expected)


def test_a_foreign_adapter_is_refused(name: str, load_tiny: Callable[..., Any]) -> None:
    adapted = adapt(load_tiny(), name)
    state = adapted.adapter_state()
    first = sorted(state)[0]
    state["other"] = state.pop(first)
    with pytest.raises(
        InjectionError, match=r"a saved adapter must fit method .* code changed since"
    ):
        adapted.load_adapter_state(state)


def test_removed_equals_the_backbone(
    name: str, backbone: Any, make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    expected = base_logits(backbone, batch)
    fingerprint = backbone.fingerprint()
    adapted = adapt(backbone, name)
    perturb(adapted)
    kept = adapted.adapter_state()
    adapted.remove()
    assert torch.equal(base_logits(backbone, batch), expected)
    assert backbone.fingerprint() == fingerprint
    assert not any(p.requires_grad for p in backbone.model.parameters())
    hooks = [m for m in backbone.model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks
    after = adapted.adapter_state()
    assert all(torch.equal(kept[key], after[key]) for key in kept), "the adapter lost its training"


def test_one_method_at_a_time_and_again_after_removal(
    name: str, load_tiny: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    first = adapt(backbone, name)
    with pytest.raises(
        InjectionError, match=f"one method at a time, got '{first.method.name}' on top of"
    ):
        adapt(backbone, name)
    first.remove()
    adapt(backbone, name).remove()


def test_two_forwards_before_one_backward_add_up(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    one, two = make_batch(((6, 2), (4, 2)), seed=1), make_batch(((8, 3), (3, 1)), seed=2)
    adapted = adapt(load_tiny(), name)
    perturb(adapted)
    parameters = dict(adapted.adapter.named_parameters())
    torch.manual_seed(7)  # for dropout
    (adapted(one)[0] + adapted(two)[0]).backward()
    together = {key: p.grad.clone() for key, p in parameters.items()}
    adapted.zero_grad()
    torch.manual_seed(7)
    adapted(one)[0].backward()
    adapted(two)[0].backward()
    for key, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, together[key], rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_is_exact(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Two forwards, then one backward, which recomputes both: the same bits as without."""
    one, two = make_batch(((6, 2), (4, 2)), seed=1), make_batch(((8, 3), (3, 1)), seed=2)
    adapted = adapt(load_tiny(), name)
    if not adapted.method.can_checkpoint_gradients:
        pytest.skip("the method declares that its layers cannot be recomputed")
    perturb(adapted)
    adapted.train()
    parameters = dict(adapted.adapter.named_parameters())

    def gradients() -> dict[str, torch.Tensor]:
        adapted.zero_grad()
        torch.manual_seed(7)  # for dropout
        (adapted(one)[0] + adapted(two)[0]).backward()
        return {key: p.grad.clone() for key, p in parameters.items()}

    expected = gradients()
    adapted.enable_gradient_checkpointing()
    recomputed = gradients()
    assert adapted_model.is_checkpointing(adapted.model)
    assert all(torch.equal(recomputed[key], expected[key]) for key in expected)
    adapted.remove()
    assert not adapted_model.is_checkpointing(adapted.model)


def test_bfloat16_backbone(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """The adapter stays float32, starts at the backbone exactly and trains; or refuses with a reason."""
    batch = make_batch()
    backbone = load_tiny(dtype="bfloat16")
    if trains_the_backbone(load_tiny(), name):
        with pytest.raises(
            InjectionError, match=r"weights, which must be float32, got torch.bfloat16"
        ):
            adapt(backbone, name)
        return
    adapted = adapt(backbone, name)
    adapted.eval()
    given = answer_logits(adapted, batch)
    train_steps(adapted, batch)
    assert all(p.dtype == torch.float32 for p in adapted.adapter.parameters())
    assert not torch.equal(answer_logits(adapted, batch), given)
    adapted.remove()
    with torch.no_grad():
        hidden = backbone.decoder(input_ids=batch.input_ids_BT, use_cache=False).last_hidden_state
        expected = backbone.head(hidden[:, :-1][batch.labels_BT[:, 1:] != -100])
    if adapted.method.starts_at_backbone:
        assert torch.equal(given, expected)


def test_a_bare_call_is_refused(name: str, load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny()
    adapt(backbone, name)
    with pytest.raises(ContextError, match="must be called within a prompt context, got a bare"):
        backbone.model(input_ids=torch.tensor([[1, 5, 6]]))
