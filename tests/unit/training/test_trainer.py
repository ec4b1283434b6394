"""The loop on a tiny real backbone: portions, stopping, bilevel steps, hooks, failures."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.errors import ConfigError, DataError, RecordError
from pedro_bench.methods.lora import Lora
from pedro_bench.protocols.batch import Encoded
from pedro_bench.training.interruption import Interrupted
from pedro_bench.training.saved_folder import read_folder
from pedro_bench.training.steps import Passes
from tests.tiny import build_method


def states_equal(first: Any, second: Any) -> bool:
    a, b = first.adapter_state(), second.adapter_state()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_ends_with_the_best_adapter(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    adapted, result = run_training(lora, short(max_steps=20))
    losses = [entry["dev_loss"] for entry in result.history]
    assert [entry["step"] for entry in result.history] == list(range(2, 21, 2))
    assert losses[-1] < losses[0] - 0.3
    assert result.best_dev_loss == min(losses)
    assert result.best_step == result.history[losses.index(min(losses))]["step"]
    assert (result.steps, result.stopped_early, result.resumed_from) == (20, False, None)
    saved = read_folder(result.best_folder)
    assert saved.state == {"step": result.best_step, "dev_loss": result.best_dev_loss}
    own = adapted.adapter_state()
    assert all(torch.equal(own[name], tensor) for name, tensor in saved.tensors["adapter"].items())
    assert result.tokens_per_second > 0
    assert result.peak_memory_bytes is None
    assert not adapted.training


def test_history_by_hand(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    # 48 rows in batches of 16 for 2 epochs are 6 steps; ceil(6 * 0.4) = 3 of warm-up.
    config = short(max_steps=None, num_epochs=2, eval_every_steps=4, warmup_ratio=0.4, lr=0.01)
    _, result = run_training(lora, config)
    assert [entry["step"] for entry in result.history] == [4, 6]
    assert [entry["epoch"] for entry in result.history] == pytest.approx([4 / 3, 2])
    # Step 4 is number 3 from 0: the top of the schedule; step 6 is number 5: (6 - 5) / (6 - 3).
    assert [entry["lr"] for entry in result.history] == pytest.approx([0.01, 0.01 / 3])


def test_evaluations_come_with_the_epochs_and_none_ends_training(
    run_training, short, lora, train_rows
):
    steps = -(-len(train_rows) // 4)
    config = short(
        max_steps=None, num_epochs=4, batch_size=4, eval_every_steps=1, eval_every_epochs=2, lr=30.0,
        patience=None, warmup_steps=1,
    )  # fmt: skip
    _, result = run_training(lora, config)
    assert [one["step"] for one in result.history] == [2 * steps, 4 * steps]
    assert [one["epoch"] for one in result.history] == [2.0, 4.0]
    assert not result.stopped_early


def test_methods_own_rate_is_used(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    config = short(max_steps=2, warmup_ratio=0.0)
    _, result = run_training(replace(lora, lr=0.5), config)
    assert result.history[0]["lr"] == 0.25


@pytest.mark.parametrize(("kind", "factor"), [("cosine", 0.75), ("constant", 1.0)])
def test_the_schedule_asked_for_is_in_force(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any, kind: str, factor: float
) -> None:
    config = short(max_steps=6, warmup_ratio=0.5, lr=0.01, lr_scheduler_type=kind)
    _, result = run_training(lora, config)
    # Step 5 is number 4 from 0, the first of three after the warm-up's end: (1 + cos(pi / 3)) / 2.
    assert [entry["lr"] for entry in result.history][:2] == pytest.approx(
        [0.01 / 3, 0.01] if kind == "cosine" else [0.01, 0.01]
    )
    config = replace(config, eval_every_steps=5)
    assert run_training(lora, config, "five")[1].history[0]["lr"] == pytest.approx(0.01 * factor)


@pytest.mark.parametrize("factor", [0.1, 0.5])
@pytest.mark.parametrize("micro_batch_size", [16, 5])
def test_label_smoothing_is_transformers_over_the_whole_batch(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    train_rows: list[Encoded],
    dev_rows: list[Encoded],
    micro_batch_size: int,
    factor: float,
) -> None:
    """The dev loss, and the gradients of a step in portions, against LabelSmoother on all rows at once."""
    from accelerate import Accelerator
    from transformers.trainer_pt_utils import LabelSmoother

    from pedro_bench.protocols.batch import collate
    from pedro_bench.training.steps import Passes

    config = short(max_steps=2, label_smoothing_factor=factor, micro_batch_size=micro_batch_size)
    adapted, result = run_training(lora, config)
    assert result.history != run_training(lora, short(max_steps=2), "plain")[1].history

    def expected(rows: list[Encoded]) -> torch.Tensor:
        batch = collate(rows, 0)
        with adapted.context(batch.prompt_mask_BT).active():
            logits = adapted.model(input_ids=batch.input_ids_BT).logits
        smoother = LabelSmoother(epsilon=factor)
        return smoother({"logits": logits}, batch.labels_BT, shift_labels=True)

    assert result.history[0]["dev_loss"] == pytest.approx(expected(dev_rows).item(), rel=1e-5)
    weights = list(adapted.adapter.parameters())
    passes = Passes(adapted, Accelerator(), "fp32", micro_batch_size, 4, None, factor)
    adapted.adapter.zero_grad()
    loss = passes.backward(train_rows[:16], weights)
    theirs = expected(train_rows[:16])
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    for own, gradient in zip(weights, torch.autograd.grad(theirs, weights), strict=True):
        assert own.grad is not None
        torch.testing.assert_close(own.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lora", "pedro"])
def test_portions_change_nothing_but_rounding(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    pedro: Callable[..., Any],
    name: str,
) -> None:
    method = lora if name == "lora" else pedro("validation")
    outcomes = {
        (micro, tokens): run_training(
            method,
            short(micro_batch_size=micro, micro_batch_tokens=tokens, max_steps=4),
            f"micro-{micro}-{tokens}",
        )
        for micro, tokens in ((16, None), (5, None), (4, None), (16, 30))
    }
    whole, expected_result = outcomes.pop((16, None))
    theirs = whole.adapter_state()
    for adapted, result in outcomes.values():
        for entry, expected in zip(result.history, expected_result.history, strict=True):
            assert entry == pytest.approx(expected, rel=2e-5)
        for key, tensor in adapted.adapter_state().items():
            torch.testing.assert_close(tensor, theirs[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"), ("ACCELERATE_MIXED_PRECISION", "bf16")],
)
def test_what_accelerates_environment_asks_for_moves_no_number(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    """`accelerate launch` exports the user's own defaults, which no record would tell of."""
    config = short(max_steps=4, max_grad_norm=1e9)
    _, expected = run_training(lora, config, "plain")
    monkeypatch.setenv(name, value)
    _, found = run_training(lora, config, "asked")
    assert found.history == expected.history


def test_without_a_norm_gradients_are_not_clipped(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    histories = [
        run_training(lora, short(max_steps=3, max_grad_norm=norm), str(norm))[1].history
        for norm in (None, 1e9, 1e-3)
    ]
    assert histories[0] == histories[1] != histories[2]


def test_vectors_are_decayed_where_asked(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    """The method has nothing but vectors."""
    own = build_method("red")
    histories = [
        run_training(own, short(**{"max_steps": 3, "weight_decay": 0.5, **more}), str(at))[
            1
        ].history
        for at, more in enumerate(({}, {"weight_decay": 0.0}, {"decays_vectors": True}))
    ]
    assert histories[0] == histories[1] != histories[2]


def test_dev_loss_is_the_mean_over_all_answer_tokens(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    dev_rows: list[Encoded],
) -> None:
    from pedro_bench.protocols.batch import collate

    adapted, result = run_training(lora, short(max_steps=2, eval_batch_size=3))
    total, count = 0.0, 0
    for row in dev_rows:
        with torch.no_grad():
            loss, tokens = adapted(collate([row], 0))
        total += float(loss)
        count += int(tokens)
    assert result.best_dev_loss == pytest.approx(total / count, rel=1e-5)


def test_it_stops_when_the_patience_is_used_up(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    # A huge rate ruins the model: the first evaluation stays the best.
    config = short(max_steps=40, lr=30.0, eval_every_steps=1, patience=3, warmup_ratio=0.0)
    _, result = run_training(lora, config)
    assert result.stopped_early
    assert result.steps == result.best_step + 3 < 40
    assert len(result.history) == result.steps


def test_dropout_is_on_in_training_and_seeded(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    method = replace(lora, dropout=0.3)
    first, again, other, without = (
        run_training(chosen, short(max_steps=4), folder, seed=seed)[0]
        for chosen, folder, seed in (
            (method, "a", 0),
            (method, "b", 0),
            (method, "c", 1),
            (lora, "d", 0),
        )
    )
    assert states_equal(first, again)
    assert not states_equal(first, other)
    assert not states_equal(first, without)


def test_a_finished_run_is_not_trained_again(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    first, done = run_training(lora, short())
    second, again = run_training(lora, short())
    assert again.resumed_from == done.steps
    assert again.history == done.history
    assert again.train_seconds == done.train_seconds
    assert states_equal(first, second)
    _, other_phase = run_training(lora, short(), phase=1)
    assert other_phase.resumed_from is None


def test_another_keys_folder_is_refused(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    run_training(lora, short(max_steps=2))
    with pytest.raises(RecordError, match="must be a checkpoint of key xyz, got abc"):
        run_training(lora, short(max_steps=2), key="xyz")


def test_gradient_checkpointing_is_exact_and_refused_where_it_cannot_be(
    run_training: Callable[..., Any], short: Callable[..., Any], pedro: Callable[..., Any]
) -> None:
    plain, _ = run_training(pedro(), short(max_steps=4), "plain")
    saving, _ = run_training(pedro(), short(max_steps=4, gradient_checkpointing=True), "saving")
    assert states_equal(plain, saving)

    @dataclass(frozen=True, kw_only=True)
    class Stubborn(Lora):
        can_checkpoint_gradients = False

    method = Stubborn(name="s", label="s", r=2, alpha=2.0, dropout=0.0, roles=("query",))
    with pytest.raises(ConfigError, match=r"trainer\.gradient_checkpointing must be false .*'s'"):
        run_training(method, short(gradient_checkpointing=True), "refused")


def test_bf16_autocast_trains(
    run_training: Callable[..., Any], short: Callable[..., Any], pedro: Callable[..., Any]
) -> None:
    adapted, result = run_training(pedro(), short(max_steps=20, precision="bf16"))
    losses = [entry["dev_loss"] for entry in result.history]
    assert min(losses) < losses[0]
    assert all(p.dtype == torch.float32 for p in adapted.adapter.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": []}, r"the train split must have at least 1 row, got 0\."),
        ({"dev": []}, r"the dev split must have at least 1 row, got 0\."),
        (
            {"dev": [Encoded((1, 5), (), 7)]},
            r"row of the dev split must have an answer, .* row 7\.",
        ),
    ],
)
def test_rows_without_answers_are_refused(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        run_training(lora, short(), **changes)


def test_nothing_goes_to_standard_output(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run_training(lora, short(max_steps=2))
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["phase-0"]


@pytest.mark.parametrize("decides", ["loss", "main_metric"])
@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_signal_during_an_evaluation_loses_no_step(
    decides: str,
    number: int,
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends the evaluation at once; the run goes on with that evaluation and ends as if alone."""
    method, config = replace(lora, dropout=0.2), short(metric_for_best_model=decides)
    scores = iter([40.0, 50.0, 30.0, 45.0])
    alone, expected = run_training(method, config, "alone", dev_score=lambda: next(scores))
    scores = iter([40.0, 50.0, 30.0, 45.0])
    calls: list[int] = []

    def signalled(call: Callable[..., float]) -> Callable[..., float]:
        def count(*given: Any) -> float:
            calls.append(1)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGTERM)
            return call(*given)

        return count

    with monkeypatch.context() as patched:
        dev_score: Callable[..., float] = lambda: next(scores)  # noqa: E731
        if decides == "loss":
            patched.setattr(Passes, "mean_loss", signalled(Passes.mean_loss))
        else:
            dev_score = signalled(dev_score)
        with pytest.raises(Interrupted, match="SIGTERM came"):
            run_training(method, config, dev_score=dev_score)
    assert (tmp_path / "run" / "phase-0" / f"checkpoint-{2 * number:08d}").is_dir()
    again, result = run_training(method, config, dev_score=lambda: next(scores))
    assert result.resumed_from == 2 * number
    assert result.history == expected.history
    assert result.best_step == expected.best_step
    assert states_equal(again, alone)
