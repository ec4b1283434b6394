"""Steps of the loop: each level moves only its own group, on its own rows, between hooks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pedro_bench.methods.lora import Lora
from pedro_bench.protocols.batch import Encoded
from pedro_bench.training import machine


def test_each_level_moves_only_its_own_group(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    pedro: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pedro_bench.training.learner import Learner

    moved: list[tuple[str, set[str]]] = []
    grads: list[tuple[str, set[str]]] = []
    take_step = Learner.step

    def watch(self: Any, factor: float) -> None:
        groups = holder["groups"]
        before = {k: [p.detach().clone() for p in group] for k, group in groups.items()}
        take_step(self, factor)
        after = {
            k
            for k, group in groups.items()
            if any(not torch.equal(p, old) for p, old in zip(group, before[k], strict=True))
        }
        moved.append((self.level.name, after))

    holder: dict[str, Any] = {}
    backward = _passes().backward

    def note(self: Any, rows: Any, parameters: Any, extra_loss: Any = None) -> float:
        holder["groups"] = self.adapted.parameter_groups()
        old = {
            id(p): None if p.grad is None else p.grad.clone()
            for group in holder["groups"].values()
            for p in group
        }
        loss = backward(self, rows, parameters, extra_loss)
        changed = {
            k
            for k, group in holder["groups"].items()
            if any(not _same(p.grad, old[id(p)]) for p in group)
        }
        level = (
            "architecture" if parameters[0] is holder["groups"]["architecture"][0] else "weights"
        )
        grads.append((level, changed))
        return float(loss)

    monkeypatch.setattr(Learner, "step", watch)
    monkeypatch.setattr(_passes(), "backward", note)
    run_training(pedro("validation"), short(max_steps=4))
    assert [name for name, _ in moved] == ["architecture", "weights"] * 4
    # The first step has a rate of 0, and the coefficients have no gradient while W_up is 0.
    assert moved[4:] == [("architecture", {"architecture"}), ("weights", {"weights"})] * 2
    assert grads[4:] == [("architecture", {"architecture"}), ("weights", {"weights"})] * 2


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _passes() -> Any:
    from pedro_bench.training.steps import Passes

    return Passes


def test_levels_draw_from_their_own_rows(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    pedro: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    train_rows: list[Encoded],
    dev_rows: list[Encoded],
) -> None:
    backward = _passes().backward
    drawn: list[set[tuple[int, ...]]] = []

    def note(self: Any, rows: Any, parameters: Any, extra_loss: Any = None) -> float:
        drawn.append({row.prompt_ids for row in rows})
        return float(backward(self, rows, parameters, extra_loss))

    monkeypatch.setattr(_passes(), "backward", note)
    run_training(pedro("validation"), short(max_steps=6), "validation")
    train, dev = ({row.prompt_ids for row in rows} for rows in (train_rows, dev_rows))
    assert all(batch <= dev for batch in drawn[::2])
    assert all(batch <= train for batch in drawn[1::2])
    drawn.clear()
    run_training(pedro("train_holdout"), short(max_steps=6), "train_holdout")
    held, kept = set().union(*drawn[::2]), set().union(*drawn[1::2])
    assert held <= train
    assert kept <= train
    assert held.isdisjoint(kept)
    drawn.clear()
    run_training(pedro("none"), short(max_steps=6), "none")
    assert len(drawn) == 6


@dataclass(frozen=True, kw_only=True)
class Hooked(Lora):
    """LoRA with an extra loss term and a record of its `after_step` calls."""

    calls: list[Any]
    extra: float = 0.0

    def extra_loss(self, adapter: nn.Module) -> Tensor | None:
        return self.extra * sum(p.square().sum() for p in adapter.parameters())

    def after_step(self, adapter: nn.Module, step: int, num_steps: int) -> None:
        has_gradients = all(p.grad is not None for p in adapter.parameters())
        self.calls.append((step, num_steps, has_gradients))


def hooked(extra: float = 0.0) -> Hooked:
    return Hooked(
        name="hooked",
        label="h",
        r=2,
        alpha=2.0,
        dropout=0.0,
        roles=("query", "value"),
        calls=[],
        extra=extra,
    )


def test_methods_hooks_are_called(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    method = hooked()
    run_training(method, short(max_steps=3))
    assert method.calls == [(1, 3, True), (2, 3, True), (3, 3, True)]


def test_the_extra_loss_is_added_once_whatever_the_portions(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    finals = {}
    for extra, micro in ((0.0, 16), (5.0, 16), (5.0, 4)):
        config = short(max_steps=3, micro_batch_size=micro)
        adapted, _ = run_training(hooked(extra), config, f"{extra}-{micro}")
        finals[extra, micro] = torch.cat([t.flatten() for t in adapted.adapter_state().values()])
    torch.testing.assert_close(finals[5.0, 16], finals[5.0, 4], rtol=1e-3, atol=1e-4)
    assert float(finals[5.0, 16].norm()) < float(finals[0.0, 16].norm())


def test_the_peak_is_the_highest_of_all_starts(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run killed after its training starts once more and trains no step, at the model's own memory."""
    for peak in (9, 3):
        monkeypatch.setattr(machine, "peak_memory_bytes", lambda _, peak=peak: peak)
        _, result = run_training(lora, short(max_steps=2))
        assert result.peak_memory_bytes == 9
    assert result.resumed_from == 2
