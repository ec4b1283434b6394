"""Passes over rows: the loss of one optimiser batch with its gradients, and the loss of a split.

    loss = sum over answer tokens of the whole optimiser batch / number of answer tokens in it
    of a token: (1 - s) * -log p(token) + s * mean over the vocabulary of -log p

with s = `trainer.label_smoothing_factor`, as in Transformers' LabelSmoother. How a batch is cut into
portions changes nothing but rounding. With several processes each takes a contiguous slice of every
optimiser batch, and gradients and sums are added up over processes, which gives the same loss again.
Where the backbone's layers are split over processes (`nn.sharding`), all of them make as many passes as
the busiest: the others fill up with a pass that counts nothing.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Parameter

from pedro_bench.data.batching import PassLimit, portions, training_batches
from pedro_bench.errors import TrainingError, some_of
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.sharding import is_sharded
from pedro_bench.protocols.batch import Batch, Encoded, batches_by_length, collate
from pedro_bench.seeding import derive

_logger = logging.getLogger(__name__)

_Rows = TypeVar("_Rows")


class BatchOrder:
    """The endless seeded sequence of optimiser batches over some rows.

    Batch number n is a pure function of the seed and n, so resuming needs nothing but n. With
    `group_by_length` rows of like length go together.
    """

    def __init__(
        self, rows: Sequence[Encoded], batch_size: int, seed: int, *, group_by_length: bool
    ) -> None:
        self._rows = rows
        self._lengths = [len(row) for row in rows]
        self._batch_size = batch_size
        self._seed = seed
        self._group_by_length = group_by_length
        self._epoch = -1
        self._batches: list[list[int]] = []
        self.steps_per_epoch = len(self._of_epoch(0))

    def batch(self, number: int) -> list[Encoded]:
        """Return the rows of optimiser batch `number`, from 0."""
        epoch, position = divmod(number, self.steps_per_epoch)
        return [self._rows[index] for index in self._of_epoch(epoch)[position]]

    def _of_epoch(self, epoch: int) -> list[list[int]]:
        if epoch != self._epoch:
            self._batches = training_batches(
                self._lengths,
                self._batch_size,
                seed=self._seed,
                epoch=epoch,
                group_by_length=self._group_by_length,
            )
            self._epoch = epoch
        return self._batches


def order_seed(seed: int, level: str, phase: int) -> int:
    """Return the seed of a level's batch order: the weights of phase 0 use the run's own."""
    return seed if (level, phase) == ("weights", 0) else derive(seed, "order", level, phase)


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes of an adapted model.

    Attributes:
        adapted: The model.
        accelerator: Knows how many processes train together.
        precision: `fp32` or `bf16`.
        micro_batch_size: Examples per forward pass in training, over all processes.
        eval_batch_size: Examples per forward pass of a split's loss.
        micro_batch_tokens: Positions per forward pass of one process, or None for no bound.
        label_smoothing: s of the module's docstring, in training and for a split's loss.
    """

    adapted: AdaptedModel
    accelerator: Accelerator
    precision: str
    micro_batch_size: int
    eval_batch_size: int
    micro_batch_tokens: int | None = None
    label_smoothing: float = 0.0

    def backward(
        self,
        rows: Sequence[Encoded],
        parameters: Sequence[Parameter],
        extra_loss: Callable[[], Tensor | None] | None = None,
    ) -> float:
        """Add the gradients of one optimiser batch to some parameters, and to no others.

        Args:
            rows: The whole optimiser batch.
            parameters: Whose gradients are wanted.
            extra_loss: Gives a term that is added once, or None.

        Returns:
            The loss per answer token in nats, without the extra term.

        Raises:
            TrainingError: If no parameter has a part in the loss.
        """
        num_tokens = sum(len(row.answer_ids) for row in rows)
        wanted = list(parameters)
        total = torch.zeros((), device=self.adapted.backbone.device)
        own_portions = self._portions(rows)
        for portion, weight in own_portions:
            with self._autocast():
                loss, _ = self.adapted(self._collate(portion), self.label_smoothing)
            loss = weight * loss
            if loss.requires_grad:
                (loss / num_tokens).backward(inputs=wanted)
            total += loss.detach()
        extra = extra_loss() if extra_loss is not None else None
        if extra is not None and self.accelerator.is_main_process:
            extra.backward(inputs=wanted)
        if own_portions and all(parameter.grad is None for parameter in wanted):
            raise self._unreached(wanted)
        self._add_up(wanted)
        return float(self._summed(total)) / num_tokens

    def _unreached(self, parameters: Sequence[Parameter]) -> TrainingError:
        return TrainingError(
            f"method {self.adapted.method.name!r} must use what it trains, got no gradient for "
            f"any of {self._named(parameters)}: let what its hooks return be computed from them, without "
            "detach() or no_grad()."
        )

    def warn_of_unreached(self, parameters: Sequence[Parameter]) -> None:
        """Say which parameters had no part in a loss; a method may choose some of them by the batch."""
        unreached = [parameter for parameter in parameters if parameter.grad is None]
        if unreached:
            _logger.warning(
                "method %s trains parameters that got no gradient in the first step: %s.",
                self.adapted.method.name,
                self._named(unreached),
            )

    def _named(self, parameters: Sequence[Parameter]) -> str:
        """Return the names of parameters, of many the first few."""
        own = {id(parameter): name for name, parameter in self.adapted.adapter.named_parameters()}
        return some_of(own[id(parameter)] for parameter in parameters)

    def bare_loss(self, rows: Sequence[Encoded]) -> float:
        """Take the method out for good, and return the loss of rows that the backbone has without it."""
        self.adapted.remove()
        return self.mean_loss(rows)

    def mean_loss(self, rows: Sequence[Encoded]) -> float:
        """Return a split's loss per answer token in nats, without gradients, in evaluation mode."""
        batches = batches_by_length(
            [len(row) for row in rows], self.limit(self.eval_batch_size).count
        )
        first, stride = self.accelerator.process_index, self.accelerator.num_processes
        was_training = self.adapted.training
        self.adapted.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.adapted.backbone.device)
        with torch.no_grad():
            own = [(indices, 1.0) for indices in batches[first::stride]]
            for indices, weight in self._filled(own, batches[0][:1], -(-len(batches) // stride)):
                with self._autocast():
                    batch = self._collate([rows[index] for index in indices])
                    loss, _ = self.adapted(batch, self.label_smoothing)
                total += weight * loss
        self.adapted.train(was_training)
        return float(self._summed(total)) / sum(len(row.answer_ids) for row in rows)

    def _portions(self, rows: Sequence[Encoded]) -> list[tuple[Sequence[Encoded], float]]:
        """Return the portions that this process takes of an optimiser batch, each with its weight."""
        count = self.accelerator.num_processes
        limit = self.limit(-(-self.micro_batch_size // count))
        shares = [
            rows[index * len(rows) // count : (index + 1) * len(rows) // count]
            for index in range(count)
        ]
        cut = [portions([len(row) for row in share], limit) for share in shares]
        place = self.accelerator.process_index
        own: list[tuple[Sequence[Encoded], float]] = [
            ([shares[place][row] for row in portion], 1.0) for portion in cut[place]
        ]
        return self._filled(own, rows[:1], max(map(len, cut)))

    def limit(self, rows: int) -> PassLimit:
        """Return what a pass of so many examples at most may hold."""
        return PassLimit(rows, self.micro_batch_tokens, self.adapted.method.num_positions)

    def _filled(
        self, own: list[tuple[_Rows, float]], idle: _Rows, passes: int
    ) -> list[tuple[_Rows, float]]:
        """Add passes that count nothing, where every process must make as many as the busiest."""
        if not is_sharded(self.adapted.backbone):
            return own
        return own + [(idle, 0.0)] * (passes - len(own))

    def _collate(self, rows: Sequence[Encoded]) -> Batch:
        backbone = self.adapted.backbone
        return collate(rows, backbone.tokenizer.pad_token_id).to(backbone.device)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.adapted.backbone.device.type, dtype=torch.bfloat16)

    def _add_up(self, parameters: Sequence[Parameter]) -> None:
        """Add gradients up over processes; one that saw no rows brings zeros."""
        if self.accelerator.num_processes == 1:
            return
        for parameter in parameters:
            own = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            parameter.grad = self._summed(own)

    def _summed(self, tensor: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return summed
