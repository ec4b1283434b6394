"""The one training loop: every method goes through it, and it names none; `training.trainer.train` calls it.

Each step: one architecture step where the method is bilevel, then the weights' step (accumulate,
clip, AdamW, the method's `after_step`). Every `eval_every_steps` the dev loss, or the main metric on the
dev rows, decides which adapter is best (of those that the method lets be) and whether the patience is used
up. A run that was killed goes on from its newest checkpoint with the same bits on the same machine:
weights, optimisers, random states, history, the method's own state.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pedro_bench import distributed
from pedro_bench.errors import TrainingError
from pedro_bench.evaluation.batches import is_out_of_memory
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.seeding import seed_torch
from pedro_bench.training import machine
from pedro_bench.training.checkpoint import Checkpoint, CheckpointStore, Identity
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.energy import EnergyMeter, meter_of
from pedro_bench.training.failures import DEV_LOSS, largest_loss, out_of_memory, require_finite
from pedro_bench.training.interruption import Interrupted, interruption
from pedro_bench.training.learner import ARCHITECTURE, WEIGHTS, Learner, levels
from pedro_bench.training.optimiser import (
    load_optimiser_tensors,
    optimiser_tensors,
    schedule_factor,
    warmup_steps,
)
from pedro_bench.training.progress import TrainingProgress
from pedro_bench.training.state import EarlyStopping, LoopState, TrainResult, stopping_rows
from pedro_bench.training.steps import Passes

if TYPE_CHECKING:
    from pedro_bench.training.tracking import Tracker


_logger = logging.getLogger(__name__)


class TrainingLoop:
    """One phase of training, from its newest checkpoint to its end."""

    def __init__(
        self,
        adapted: AdaptedModel,
        *,
        rows: tuple[Sequence[Encoded], Sequence[Encoded]],
        config: TrainerConfig,
        batch_size: int,
        identity: tuple[str, int, int],
        folder: Path,
        tracker: "Tracker | None",
        dev_score: Callable[[], float] | None,
        lower_is_better: bool,
    ) -> None:
        self.adapted, self.config, self.tracker = adapted, config, tracker
        self.dev_score = dev_score
        train_rows, dev_rows = rows
        self.dev = stopping_rows(dev_rows, config.eval_rows)
        key, self.seed, self.phase = identity
        self.accelerator = distributed.accelerator()
        micro = min(config.micro_batch_size or batch_size, batch_size)
        self.passes = Passes(
            adapted,
            self.accelerator,
            machine.resolved_precision(config.precision, adapted.backbone.device),
            micro,
            config.eval_batch_size or micro,
            config.micro_batch_tokens,
            config.label_smoothing_factor,
        )
        chosen = levels(
            adapted.parameter_groups(), adapted.method.bilevel, train_rows, dev_rows, self.seed
        )
        rates = {
            WEIGHTS: config.resolved_lr(adapted.method),
            ARCHITECTURE: config.resolved_architecture_lr(adapted.method),
        }
        self.learners = [
            Learner(level, config, rates[level.name], batch_size, self.seed, self.phase)
            for level in chosen
        ]
        self.steps_per_epoch = self.learners[-1].order.steps_per_epoch
        epochs_steps = self.steps_per_epoch * config.num_epochs
        self.total_steps = min(epochs_steps, config.max_steps or epochs_steps)
        self.num_warmup = warmup_steps(self.total_steps, config.warmup_ratio, config.warmup_steps)
        self.evaluation_interval = config.evaluation_interval(self.steps_per_epoch)
        self.state = LoopState()
        self.stopping = EarlyStopping(config.patience, lower_is_better=lower_is_better)
        self.store = CheckpointStore(
            folder, Identity(key, self.seed, self.phase, self.accelerator.num_processes)
        )
        self.names: dict[Tensor, str] = {
            parameter: name for name, parameter in adapted.adapter.named_parameters()
        }
        self.optimisers = {learner.level.name: learner.optimiser for learner in self.learners}
        is_alone = not distributed.is_one_of_several()
        self.energy = meter_of(adapted.backbone.device) if is_alone else EnergyMeter()
        self.resumed_from: int | None = None
        self.is_evaluating = False

    def run(self) -> TrainResult:
        """Train to the end and load the best adapter."""
        device = self.adapted.backbone.device
        machine.reset_peak_memory(device)
        self._start()
        title = f"{self.adapted.method.name} seed {self.seed}"
        is_shown = self.accelerator.is_main_process
        try:
            with (
                interruption.heeded(),
                TrainingProgress(title, self.total_steps, is_shown=is_shown) as progress,
            ):
                while not self.state.is_finished:
                    self._advance(progress)
                    self._leave_if_asked()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise self._out_of_memory() from error
        self.adapted.load_adapter_state(self.store.load_best(self.stopping.best_step))
        self.adapted.eval()
        self._take_peak()
        return self._result()

    def _start(self) -> None:
        """Take up the newest checkpoint, or begin with the seed's own random stream."""
        with self.accelerator.main_process_first():
            checkpoint = self.store.newest()
        if checkpoint is None:
            names: tuple[str | int, ...] = ("dropout", self.phase)
            if self.accelerator.process_index:
                names = (*names, self.accelerator.process_index)
            seed_torch(self.seed, *names)
        else:
            self._load(checkpoint)
        self.adapted.train()

    def _advance(self, progress: TrainingProgress) -> None:
        """Take one step, or make the evaluation due after the last; then write the checkpoint due."""
        started = time.perf_counter()
        self.energy.start()
        state, every = self.state, self.config.checkpoint_every_steps
        if self._is_evaluation_due():
            is_best = self._evaluate()
            progress.evaluation(state.history[-1], state.tokens_per_second, is_best=is_best)
            is_last = state.step == self.total_steps
            state.stopped_early = self.stopping.is_over and not is_last
            state.is_finished = is_last or state.stopped_early
            is_saved = True
        else:
            self._step()
            state.step_seconds += time.perf_counter() - started
            progress.step(state.step, state.last_loss, state.tokens_per_second)
            is_saved = every is not None and state.step % every == 0
            is_saved = is_saved and not self._is_evaluation_due()
        state.train_seconds += time.perf_counter() - started
        state.train_joules = self.energy.added_to(state.train_joules)
        if is_saved:
            self._save()

    def _is_evaluation_due(self) -> bool:
        """Return whether the adapter of the last step is to be evaluated before the next."""
        step, history = self.state.step, self.state.history
        is_time = step > 0 and (step == self.total_steps or step % self.evaluation_interval == 0)
        return is_time and not (history and history[-1]["step"] == step)

    def _leave_if_asked(self) -> None:
        """Save and leave if any process of this run was interrupted."""
        if machine.is_any(self.accelerator, interruption.is_asked):
            if not machine.is_any(self.accelerator, not interruption.saves):
                self._save()
            interruption.leave()

    def _step(self) -> None:
        """One optimiser step of every level, the weights last."""
        state, adapted = self.state, self.adapted
        number = state.step
        factor = schedule_factor(
            number, self.total_steps, self.num_warmup, self.config.lr_scheduler_type
        )
        for learner in self.learners:
            is_weights = learner.level.name == WEIGHTS
            rows = learner.order.batch(number)
            learner.optimiser.zero_grad(set_to_none=True)
            extra = adapted.extra_loss if is_weights else None
            loss = self.passes.backward(rows, learner.level.parameters, extra)
            self._require_finite(f"{learner.level.name} training loss", loss, number + 1, rows)
            if number == 0:
                self.passes.warn_of_unreached(learner.level.parameters)
            norm = self.accelerator.clip_grad_norm_(
                learner.level.parameters, self.config.max_grad_norm or math.inf
            )
            gradient_norm = float(norm or 0.0)
            what = f"{learner.level.name} gradient norm"
            self._require_finite(what, gradient_norm, number + 1, rows)
            learner.step(factor)
            state.num_tokens += sum(map(len, rows))
            if is_weights:
                state.take_loss(loss, sum(len(row.answer_ids) for row in rows))
        state.step += 1
        adapted.method.after_step(adapted.adapter, state.step, self.total_steps)
        state.last_lr = self.learners[-1].lr * factor
        if self.tracker is not None and self.accelerator.is_main_process:
            self.tracker.log({"train/loss": state.last_loss, "train/lr": state.last_lr}, state.step)

    def _evaluate(self) -> bool:
        """Evaluate the adapter and keep it if it is the best; return whether it is."""
        state = self.state
        is_last = state.step == self.total_steps
        may_be_best = is_last or self.adapted.method.can_be_best(state.step, self.total_steps)
        try:
            with interruption.answered_at_once(self.accelerator.num_processes == 1):
                dev_loss, dev_score = self._dev_values(with_score=may_be_best)
        except Interrupted:  # nothing has changed since the step, after which the run goes on
            self._save()
            raise
        epoch = state.step / self.steps_per_epoch
        state.close_interval(epoch=epoch, dev_loss=dev_loss, dev_score=dev_score)
        is_best = may_be_best and self.stopping.update(state.step, dev_loss, dev_score)
        if self.accelerator.is_main_process:
            if is_best:
                self.store.save_best(state.step, dev_loss, self.adapted.adapter_state())
            if self.tracker is not None:
                score = {} if dev_score is None else {"dev/score": dev_score}
                self.tracker.log({"dev/loss": dev_loss, **score, "epoch": epoch}, state.step)
        self.accelerator.wait_for_everyone()
        return is_best

    def _dev_values(self, *, with_score: bool) -> tuple[float, float | None]:
        """Return the dev loss, and the dev score where it decides."""
        self.is_evaluating = True
        dev_loss = self.passes.mean_loss(self.dev)
        self.is_evaluating = False
        self._require_finite(DEV_LOSS, dev_loss, self.state.step, self.dev)
        if self.dev_score is None or not with_score:
            return dev_loss, None
        return dev_loss, self._mean_over_processes(self.dev_score())

    def _mean_over_processes(self, value: float) -> float:
        """Return one value for all processes, so that they agree on which adapter is the best."""
        own = torch.tensor(value, dtype=torch.float64, device=self.adapted.backbone.device)
        return float(self.accelerator.reduce(own, reduction="mean"))

    def _take_peak(self) -> None:
        """Keep the highest peak of this start and of those before it."""
        peak = machine.peak_memory_bytes(self.adapted.backbone.device)
        known = [one for one in (self.state.peak_memory_bytes, peak) if one is not None]
        self.state.peak_memory_bytes = max(known, default=None)

    def _save(self) -> None:
        self._take_peak()
        random = machine.random_states(self.accelerator, self.adapted.backbone.device)
        if self.accelerator.is_main_process:
            adapter, method = self.adapted.adapter, self.adapted.method
            tensors = {
                "adapter": self.adapted.adapter_state(),
                "optimiser": optimiser_tensors(self.optimisers, self.names),
                "runtime": method.runtime_state(adapter),
                "random": random,
            }
            state = {"loop": self.state.to_json(), "stopping": vars(self.stopping).copy()}
            best_step = self.stopping.best_step
            self.store.save(Checkpoint(self.state.step, best_step, state, tensors))
        self.accelerator.wait_for_everyone()

    def _load(self, checkpoint: Checkpoint) -> None:
        tensors = checkpoint.tensors
        self.adapted.load_adapter_state(tensors["adapter"])
        load_optimiser_tensors(self.optimisers, self.names, tensors["optimiser"])
        self.adapted.method.load_runtime_state(self.adapted.adapter, tensors["runtime"])
        self.state = LoopState.from_json(checkpoint.state["loop"])
        self.stopping = EarlyStopping(**checkpoint.state["stopping"])
        machine.restore_random_states(
            tensors["random"], self.accelerator, self.adapted.backbone.device
        )
        self.resumed_from = checkpoint.step
        _logger.info("training goes on from the checkpoint of step %d.", checkpoint.step)

    def _require_finite(self, what: str, value: float, step: int, rows: Sequence[Encoded]) -> None:
        last, bare_loss = self.store.last_step(), partial(self.passes.bare_loss, rows)
        largest = largest_loss(self.adapted.head)
        require_finite(what, value, step, last, self.passes.precision, bare_loss, largest)

    def _binding_tokens(self) -> int | None:
        """Return the bound of positions if it is what bounds the largest pass."""
        passes, learners = self.passes, self.learners
        size = passes.eval_batch_size if self.is_evaluating else passes.micro_batch_size
        sources = [self.dev] if self.is_evaluating else [one.level.rows for one in learners]
        longest = max(len(row) for rows in sources for row in rows)
        bounds = passes.limit(size).count(longest) < size
        return passes.micro_batch_tokens if bounds else None

    def _out_of_memory(self) -> TrainingError:
        return out_of_memory(
            self.config,
            step=self.state.step + (0 if self.is_evaluating else 1),
            micro_batch_size=self.passes.micro_batch_size,
            eval_batch_size=self.passes.eval_batch_size,
            binding_tokens=self._binding_tokens(),
            is_evaluating=self.is_evaluating,
            can_checkpoint_gradients=self.adapted.method.can_checkpoint_gradients,
        )

    def _result(self) -> TrainResult:
        state, stopping = self.state, self.stopping
        assert stopping.best_dev_loss is not None  # the last step is always evaluated
        return TrainResult(
            history=tuple(state.history),
            best_step=stopping.best_step,
            best_dev_loss=stopping.best_dev_loss,
            best_dev_score=stopping.best_dev_score,
            steps=state.step,
            stopped_early=state.stopped_early,
            train_seconds=state.train_seconds,
            train_joules=state.train_joules,
            tokens_per_second=state.tokens_per_second,
            peak_memory_bytes=state.peak_memory_bytes,
            resumed_from=self.resumed_from,
            best_folder=self.store.best_folder(stopping.best_step),
        )
