"""Bilevel training (PEDRO's eq. 8) under transformers.Trainer and TRL's trainers, as a callback.

Before each step on training batches (Omega: the generators) one step on a validation batch is taken
(Theta: the coefficients of the activation), first order, with an AdamW of its own, at the trainer's rate of
that step. Its moments and its place among the batches lie in the trainer's checkpoints (`STATE`), so that
`resume_from_checkpoint` goes on with the same numbers.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_
from transformers import TrainerCallback

from pedro_bench.errors import ConfigError
from pedro_bench.integrations.peft import architecture_parameters

STATE = "bilevel.safetensors"
"""File in the trainer's checkpoint folder with the state of the callback."""

_TAKEN = "batches"

_logger = logging.getLogger(__name__)


class BilevelCallback(TrainerCallback):  # type: ignore[misc]  # the base class is Any to the checker
    """Trains a method's architecture parameters on batches of their own, and nowhere else.

    Args:
        batches: Validation batches as the model takes them, `labels` included, such as a `DataLoader`; gone
            through again and again, in the same order where a training is resumed.
        adapter_name: The adapter.
        lr: Rate of these parameters, above 0; None: the trainer's, with its schedule.
    """

    def __init__(
        self,
        batches: Iterable[Mapping[str, Any]],
        *,
        adapter_name: str = "default",
        lr: float | None = None,
    ) -> None:
        self._batches = batches
        self._adapter_name = adapter_name
        self._lr = lr
        self._stream: Iterator[Mapping[str, Any]] = iter(())
        self._taken = 0
        self._parameters: list[Parameter] = []
        self._optimiser: torch.optim.AdamW | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the architecture parameters away from the trainer.

        Raises:
            ConfigError: If the method has none, or several processes train.
        """
        if args.world_size > 1:
            raise ConfigError(
                f"bilevel training must run in one process, got {args.world_size}: their validation "
                "gradients would not be added up."
            )
        self._parameters = architecture_parameters(kwargs["model"], self._adapter_name)
        self._optimiser = torch.optim.AdamW(
            self._parameters,
            lr=0.0,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=0.0,
        )
        self._stream, self._taken = iter(()), 0
        if state.global_step:
            self._resume(_place(args, state))
        self._require_gradients(False)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the optimiser's state and the number of batches taken into the checkpoint."""
        place = _place(args, state)
        # The trainer may have removed the checkpoint again: it keeps only so many.
        if self._optimiser is None or not place.parent.is_dir():
            return
        own = {
            f"{number}.{entry}": torch.as_tensor(value).detach().cpu().clone()
            for number, parameter in enumerate(self._parameters)
            for entry, value in self._optimiser.state[parameter].items()
        }
        save_file(own | {_TAKEN: torch.tensor(self._taken)}, place)

    def _resume(self, place: Path) -> None:
        """Take back what `on_save` wrote; where it is not there, say that the optimiser begins anew."""
        assert self._optimiser is not None
        if not place.is_file():
            _logger.warning(
                "bilevel training goes on without %s: the architecture's AdamW and its batches begin anew.",
                place,
            )
            return
        tensors = load_file(place)
        taken = int(tensors.pop(_TAKEN))
        for name, tensor in tensors.items():
            number, _, entry = name.partition(".")
            parameter = self._parameters[int(number)]
            device = "cpu" if entry == "step" else parameter.device
            self._optimiser.state[parameter][entry] = tensor.to(device)
        for _ in range(taken):
            self._next()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take one step of the architecture parameters."""
        assert self._optimiser is not None
        model = kwargs["model"]
        rate = kwargs["lr_scheduler"].get_last_lr()[0] if self._lr is None else self._lr
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = {name: value.to(args.device) for name, value in self._next().items()}
        self._require_gradients(True)
        loss: Tensor = model(**batch).loss
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        if args.max_grad_norm:
            clip_grad_norm_(self._parameters, args.max_grad_norm)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._require_gradients(False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Give the parameters back."""
        self._require_gradients(True)

    def _require_gradients(self, wanted: bool) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(wanted)

    def _next(self) -> Mapping[str, Any]:
        """Return the next validation batch.

        Raises:
            ConfigError: If there is none.
        """
        self._taken += 1
        for batch in self._stream:
            return batch
        self._stream = iter(self._batches)
        for batch in self._stream:
            return batch
        raise ConfigError("batches must hold at least one validation batch, got none.")


def _place(args: Any, state: Any) -> Path:
    """Return where the state lies that belongs to the trainer's checkpoint of its present step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
