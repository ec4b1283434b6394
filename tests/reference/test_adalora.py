"""AdaLoRA against peft's own implementation: logits, loss, and whole trainings with the allocator."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.errors import ConfigError, TrainingError
from pedro_bench.methods.adalora.layers import svd_updates
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_backbone, build_method

ROLE_OF = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "attn_out",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
NUM_MATRICES = 2 * len(ROLE_OF)
"""On a backbone of two layers."""

BETA2 = 0.7
"""Another decay than that of the sensitivities, 0.85."""


def peft_model(backbone: Any, num_steps: int, delta: int, weight: float) -> Any:
    """peft's AdaLoRA with the phases that our YAML's ratios mean for so many steps."""
    import peft

    config = peft.AdaLoraConfig(
        init_r=8,
        target_r=4,
        lora_alpha=16,
        tinit=num_steps // 10,
        tfinal=num_steps // 2,
        deltaT=delta,
        beta1=0.85,
        beta2=BETA2,
        orth_reg_weight=weight,
        total_step=num_steps,
        target_modules=list(ROLE_OF),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(backbone.model, config)


def ours_of(key: str) -> str:
    """The name of our tensor for a name of peft's."""
    parts = key.split(".")
    layer, role = parts[parts.index("layers") + 1], next(ROLE_OF[p] for p in parts if p in ROLE_OF)
    return f"layers.{layer}.{role}.{next(p for p in parts if p.startswith('lora_'))}"


def pair(
    load: Callable[..., Any], num_steps: int, *, delta: int = 1, weight: float = 0.1
) -> tuple[AdaptedModel, Any, dict[str, torch.nn.Parameter], dict[str, torch.nn.Parameter]]:
    """Ours and peft's, in float64 and with the same start; and their parameters by our names."""
    torch.manual_seed(1)
    changes = {"deltaT": delta, "orth_reg_weight": weight, "beta2": BETA2}
    adapted = AdaptedModel(load(), build_method("adalora", **changes))
    adapted.double()
    reference = peft_model(load(), num_steps, delta, weight).double()
    own = dict(adapted.adapter.named_parameters())
    theirs = {ours_of(k): p for k, p in reference.named_parameters() if p.requires_grad}
    assert set(own) == set(theirs)
    with torch.no_grad():
        for key, parameter in own.items():
            theirs[key].copy_(parameter)
    return adapted, reference, own, theirs


def forward(reference: Any, batch: Any) -> Any:
    return reference(
        input_ids=batch.input_ids_BT,
        attention_mask=batch.attention_mask_BT.long(),
        labels=batch.labels_BT,
    )


def total_loss(adapted: AdaptedModel, batch: Any) -> torch.Tensor:
    loss, count = adapted(batch)
    extra = adapted.extra_loss()
    assert extra is not None
    return loss / count + extra


def ranks(adapted: AdaptedModel) -> list[int]:
    return [int((u.lora_E != 0).sum()) for u in svd_updates(adapted.adapter).values()]


def test_logits_and_loss_equal_peft(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    adapted, reference, own, theirs = pair(load_tiny, 20)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            theirs[key].copy_(parameter)
    output = forward(reference, batch)
    expected = output.logits[:, :-1][batch.labels_BT[:, 1:] != -100]
    torch.testing.assert_close(
        adapted.answer_logits(batch)[0].double(), expected, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(total_loss(adapted, batch).float(), output.loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("num_steps", "delta"), [(3, 1), (20, 1), (40, 3)])
def test_a_whole_training_equals_peft(
    num_steps: int, delta: int, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    adapted, reference, own, theirs = pair(load_tiny, num_steps, delta=delta)
    optimisers = [
        torch.optim.AdamW(p.values(), lr=2e-2, eps=1e-4, weight_decay=0.0) for p in (own, theirs)
    ]
    seen = []
    for step in range(1, num_steps + 1):
        batch = make_batch(((6, 2), (9, 3), (5, 1), (8, 2)), seed=step)
        total_loss(adapted, batch).backward()
        forward(reference, batch).loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        adapted.method.after_step(adapted.adapter, step, num_steps)
        reference.base_model.update_and_allocate(step)
        for optimiser in optimisers:
            optimiser.zero_grad()
        seen.append(sum(ranks(adapted)))
        for key, parameter in own.items():
            assert torch.equal(parameter == 0, theirs[key] == 0), f"step {step}: {key}"
            torch.testing.assert_close(
                parameter, theirs[key], rtol=1e-4, atol=1e-6, msg=f"step {step}: {key}"
            )
    last = num_steps - num_steps // 2
    assert seen[last - 1 :] == [4 * NUM_MATRICES] * (num_steps // 2 + 1)
    if num_steps > 3:
        assert seen[0] == 8 * NUM_MATRICES
        assert len(set(seen[:last])) > 3, "the budget did not fall step by step"
        assert len(set(ranks(adapted))) > 2, "every matrix kept the same rank"


def test_starts_as_peft_does(load_tiny: Callable[..., Any]) -> None:
    torch.manual_seed(1)
    adapted = AdaptedModel(load_tiny(), build_method("adalora"))
    reference = peft_model(load_tiny(), 20, 1, 0.1)
    theirs = {ours_of(k): p for k, p in reference.named_parameters() if p.requires_grad}
    for key, parameter in adapted.adapter.named_parameters():
        assert parameter.shape == theirs[key].shape
        if key.endswith("lora_E"):
            assert not parameter.any() and not theirs[key].any()
        else:
            for values in (parameter.detach(), theirs[key].detach()):
                assert float(values.std()) == pytest.approx(0.02, rel=0.2)


def test_training_makes_the_vectors_orthonormal_only_with_the_term(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    distances = {}
    for weight in (0.0, 1.0):
        adapted, _, own, _ = pair(load_tiny, 60, weight=weight)
        total_loss(adapted, batch).backward()
        # E is zero at the start, so nothing but the term reaches A and B.
        assert bool(own["layers.0.query.lora_A"].grad.any()) == (weight > 0)
        optimiser = torch.optim.AdamW(own.values(), lr=2e-2, weight_decay=0.0)
        for _ in range(60):
            optimiser.zero_grad()
            total_loss(adapted, batch).backward()
            optimiser.step()
        gram = own["layers.0.query.lora_A"] @ own["layers.0.query.lora_A"].t()
        distances[weight] = float((gram.detach() - torch.eye(8).double()).norm())
    assert distances[1.0] < 0.3 < 1.0 < distances[0.0]


def test_equal_scores_keep_exactly_the_budget(load_tiny: Callable[..., Any]) -> None:
    """With all gradients zero every triplet has the same score; peft's rule would drop them all."""
    adapted = AdaptedModel(load_tiny(), build_method("adalora"))
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.fill_(1.0)
    for step in range(1, 5):
        for parameter in adapted.adapter.parameters():
            parameter.grad = torch.zeros_like(parameter)
        adapted.method.after_step(adapted.adapter, step, 4)
    assert sum(ranks(adapted)) == 4 * NUM_MATRICES


@pytest.mark.parametrize("taken_over", [1, 5, 9, 10, 13])
def test_a_second_adapter_takes_over_at_any_step(
    taken_over: int, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    def train(adapted: AdaptedModel, first: int, last: int) -> None:
        optimiser = torch.optim.SGD(adapted.adapter.parameters(), lr=0.5)
        for step in range(first, last + 1):
            optimiser.zero_grad()
            total_loss(adapted, make_batch(seed=step)).backward()
            optimiser.step()
            adapted.method.after_step(adapted.adapter, step, 20)

    whole, half, other = (AdaptedModel(load_tiny(), build_method("adalora")) for _ in range(3))
    half.load_adapter_state(whole.adapter_state())
    train(whole, 1, 20)
    train(half, 1, taken_over)
    state = half.method.runtime_state(half.adapter)
    averages = {"sensitivity", "uncertainty"} if taken_over < 10 else set()
    masks = {"kept"} if taken_over > 2 else set()
    assert {name.partition("|")[0] for name in state} == averages | masks
    train(other, 1, 3)  # with a memory of its own, which must go
    other.load_adapter_state(half.adapter_state())
    other.method.load_runtime_state(other.adapter, state)
    train(other, taken_over + 1, 20)
    expected = whole.adapter_state()
    for key, tensor in other.adapter_state().items():
        assert torch.equal(tensor, expected[key]), key


def test_no_pruning_where_the_start_is_the_budget(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    adapted = AdaptedModel(load_tiny(), build_method("adalora", init_r=4))
    optimiser = torch.optim.AdamW(adapted.adapter.parameters(), lr=1e-2)
    for step in range(1, 5):
        optimiser.zero_grad()
        total_loss(adapted, make_batch()).backward()
        optimiser.step()
        adapted.method.after_step(adapted.adapter, step, 4)
    assert ranks(adapted) == [4] * NUM_MATRICES


@pytest.mark.parametrize("num_steps", [1, 2])
def test_too_few_steps_are_refused(num_steps: int, load_tiny: Callable[..., Any]) -> None:
    adapted = AdaptedModel(load_tiny(), build_method("adalora"))
    with pytest.raises(TrainingError, match=r"at least 2 steps before .* got 1: raise trainer"):
        adapted.method.after_step(adapted.adapter, 1, num_steps)


def test_phases_that_leave_no_room_are_refused() -> None:
    message = r"tinit_ratio and method\.tfinal_ratio must add up to less than 1, got 0\.5 and 0\.5"
    with pytest.raises(ConfigError, match=message):
        build_method("adalora", tinit_ratio=0.5)


def test_the_ledger_on_llama2_7b() -> None:
    count = build_method("adalora").count(build_backbone("llama2_7b").shape())
    assert (count.matrices, count.trainable) == (9_994_240, 19_990_272)
    assert 2 * count.matrices == 19_988_480


def test_no_adapter_above_the_budget_can_be_the_best() -> None:
    """The last allocation of ten steps is after the fifth, half of them being left."""
    method = build_method("adalora")
    assert [method.can_be_best(step, 10) for step in range(3, 8)] == [
        False,
        False,
        True,
        True,
        True,
    ]
