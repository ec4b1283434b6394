"""A training that breaks down says so in one sentence, with the setting to change."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.errors import DivergenceError, TrainingError
from pedro_bench.methods.full_ft import FullFineTuning
from pedro_bench.methods.lora import Lora
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.head import PARTS_OF_ONE, Head
from pedro_bench.protocols.method import Injection
from pedro_bench.training import failures
from pedro_bench.training.trainer import train
from tests.tiny import build_method


@dataclass(frozen=True, kw_only=True)
class Broken(Lora):
    """LoRA whose forward breaks at a given call."""

    at_call: int
    how: str

    def attach(self, injection: Injection) -> None:
        super().attach(injection)
        calls = iter(range(10_000))

        def change(_: Tensor, output: Tensor) -> Tensor:
            if next(calls) < self.at_call:
                return output
            if self.how == "nan":
                return output * math.nan
            if self.how == "cpu":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
            if self.how == "bug":
                raise RuntimeError("shapes do not fit")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        # Not a query: attention kernels of some processors turn its NaN into a number.
        injection.on_output(injection.sites(("ffn_down",))[0], change)


def broken(at_call: int, how: str) -> Broken:
    return Broken(
        name="broken",
        label="b",
        r=2,
        alpha=2.0,
        dropout=0.0,
        roles=("query", "value"),
        at_call=at_call,
        how=how,
    )


@pytest.mark.fault(
    what="Loss not a number",
    how="a layer gives NaN in a training step, in the first step, in the dev loss",
    lost="the run fails with the step in its record; the last good checkpoint is kept",
)
def test_a_loss_that_is_not_a_number_ends_the_run(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    # Steps 1 and 2 and one dev pass are three forwards; the fourth, in step 3, breaks.
    with pytest.raises(
        TrainingError, match=r"training loss must stay finite, got nan at step 3 .*: step 2\).*lr"
    ):
        run_training(broken(3, "nan"), short())
    start = (
        r"training loss must be finite, got nan at step 1, before any update: the backbone without the "
        r"method has a loss of \d+\.\d\d on the same rows, so look at what the method adds"
    )
    with pytest.raises(TrainingError, match=start + r".* settings\)\.$"):
        run_training(broken(0, "nan"), short(), "other")
    with pytest.raises(TrainingError, match=start + r".* or set trainer\.precision=fp32\.$"):
        run_training(broken(0, "nan"), short(precision="bf16"), "half")
    with pytest.raises(TrainingError, match=r"the dev loss must stay finite, got nan at step 2"):
        run_training(broken(2, "nan"), short(), "third")


@pytest.mark.fault(
    what="A loss that explodes and stays finite",
    how="full fine-tuning at a learning rate of 30, seen in a training step and in the dev loss",
    lost="the run fails with the step in its record; the last good checkpoint is kept",
)
def test_a_loss_that_explodes_ends_the_run(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    method = FullFineTuning(name="full_ft", label="full fine-tuning")
    rare = {"lr": 30.0, "eval_every_steps": 8}
    exploded = r"training loss must stay at most 50, got \d{2,}\.\d at step"
    with pytest.raises(DivergenceError, match=exploded + r" 3 .*: step 2\): lower .*lr\)\.$"):
        run_training(method, short(**rare, checkpoint_every_steps=1))
    with pytest.raises(
        DivergenceError, match=r"the dev loss must stay at most .* at step 2 .*none"
    ):
        run_training(method, short(lr=30.0), "other")


def test_a_bad_start_is_no_explosion() -> None:
    guess = math.log(256_000)

    def require(what: str, value: float, step: int, bare: float = math.nan) -> None:
        failures.require_finite(what, value, step, None, "fp32", lambda: bare)

    require("weights training loss", 3 * guess, 1)
    require("weights gradient norm", 1e6, 1)  # clipped: bound to no size
    for name, bare in (("training loss", 312.5), ("architecture training loss", math.inf)):
        with pytest.raises(
            DivergenceError, match=r"got 312\.5 at step 1, before any update: the backbone itself"
        ) as one:
            require(name, 312.5, 1, bare)
        assert "wrong weights or the tokenizer" in str(one.value)
        assert "lr" not in str(one.value)
    with pytest.raises(DivergenceError, match=r"without the method has a loss of 2\.31 .* attach"):
        require("training loss", 312.5, 1, 2.309)
    for name, step in (("training loss", 2), ("dev loss", 1)):  # after an update
        with pytest.raises(DivergenceError, match=r"got 312\.5 at step .*lower the learning rate"):
            require(name, 312.5, step)
    with pytest.raises(DivergenceError, match=r"gradient norm must stay finite, got inf at step 2"):
        require("gradient norm", math.inf, 2)
    with pytest.raises(DivergenceError, match=r"got inf at step 1, .* loss is finite.* at 0\.$"):
        require("gradient norm", math.inf, 1)


def test_a_number_on_a_wide_scale_is_no_explosion(
    load_tiny: Callable[..., Any], short: Callable[..., Any], tmp_path: Path
) -> None:
    """An encoder's head begins near 0: on a scale to 100 its first squared error is in the thousands."""
    head = Head(least=0.0, most=100.0)
    rows = [Encoded((1, 4 + n, 9, 2), (90 * PARTS_OF_ONE,), n) for n in range(6)]
    torch.manual_seed(0)
    result = train(
        AdaptedModel(load_tiny("bert"), build_method("lora"), head),
        train=rows,
        dev=rows,
        config=short(max_steps=1, eval_every_steps=1, batch_size=6),
        official_train_rows=6,
        seed=0,
        key="key",
        folder=tmp_path,
    )
    assert result.best_dev_loss > 5000
    assert failures.largest_loss(head) == 20_000
    assert failures.largest_loss(Head(least=1000.0, most=1005.0)) == 2 * 1005**2
    for narrow in (None, Head(labels=("yes", "no")), Head(least=0.0, most=5.0), Head(most=1.0)):
        assert failures.largest_loss(narrow) == failures.EXPLODED
    with pytest.raises(DivergenceError, match=r"must stay at most 20000, got 20001\.0 at step 2"):
        failures.require_finite("dev loss", 20_001, 2, None, "fp32", lambda: 0.0, 20_000.0)


@pytest.mark.fault(
    what="Out of memory",
    how="PyTorch errors of the GPU and the CPU in a forward pass",
    lost="the run fails and its record names the setting to change",
)
@pytest.mark.parametrize(
    ("at_call", "how", "changes", "message"),
    [
        (
            0,
            "gpu",
            {},
            r"step 1 with trainer\.micro_batch_size=16 .*set trainer\.micro_batch_size=8 ",
        ),
        (
            0,
            "cpu",
            {"micro_batch_size": 5},
            r"micro_batch_size=5 .*set trainer\.micro_batch_size=2 ",
        ),
        (0, "gpu", {"micro_batch_size": 1}, r"set trainer\.gradient_checkpointing=true "),
        (
            0,
            "gpu",
            {"micro_batch_size": 1, "gradient_checkpointing": True, "max_length": 512},
            r"set trainer\.max_length=256 ",
        ),
        (
            2,
            "gpu",
            {},
            r"step 2 with trainer\.eval_batch_size=16 .*set trainer\.eval_batch_size=8 ",
        ),
    ],
)
def test_out_of_memory_names_the_setting_to_change(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    at_call: int,
    how: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(TrainingError, match=r"training must fit into memory.*" + message):
        run_training(broken(at_call, how), short(**changes))


def test_out_of_memory_names_the_bound_of_positions_where_that_is_what_binds(
    run_training: Callable[..., Any], short: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "LEAST_TOKENS", 16)
    with pytest.raises(
        TrainingError, match=r"micro_batch_tokens=24 .*set trainer\.micro_batch_tokens=12 "
    ):
        run_training(broken(0, "gpu"), short(micro_batch_tokens=24))
    with pytest.raises(TrainingError, match=r"set trainer\.micro_batch_size=8 "):
        run_training(broken(0, "gpu"), short(micro_batch_tokens=16), "least")


def test_other_errors_pass_through(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run_training(broken(0, "bug"), short())
