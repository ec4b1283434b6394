"""What decoding and likelihood share: the model they need, and batches by length.

Legend: B examples, T tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from pedro_bench import checks
from pedro_bench.errors import NOT_NUMBERS, BackboneError, DataError, TrainingError
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import Batch, batches_by_length
from pedro_bench.protocols.context import PromptContext
from pedro_bench.protocols.method import Method


class Adapted(Protocol):
    """The part of an adapted model that evaluation uses."""

    backbone: LoadedBackbone
    method: Method

    def modules(self) -> Iterator[nn.Module]:
        """All modules, the backbone's included."""

    def context(self, prompt_mask_BT: Tensor) -> PromptContext:
        """Make the context of one generation."""

    def answer_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (N, V) and labels (N,) at the answer positions, row by row."""


class Progress(Protocol):
    """Called after each batch."""

    def __call__(self, done: int, total: int, /) -> None:
        """Tell how many of all examples are done."""


def check_positions(adapted: Adapted, tokens: int) -> None:
    """Require that a sequence fits into the backbone's positions, virtual tokens included.

    Args:
        adapted: The adapted model.
        tokens: Prompt and answer of the longest sequence, in tokens; an encoder reads the text alone.

    Raises:
        DataError: If it does not; beyond its positions a model gives text without sense.
    """
    positions, taken = adapted.backbone.shape.max_positions, adapted.method.num_positions
    if positions is not None and tokens + taken > positions:
        virtual = f" and {taken} virtual tokens" if taken else ""
        is_text = adapted.backbone.kind == "encoder"
        of = "" if is_text else " of prompt and answer"
        remedy = "" if is_text else " or generate fewer tokens"
        raise DataError(
            f"a sequence must fit into the {positions} positions of backbone "
            f"{adapted.backbone.name!r}, got {tokens} tokens{of}{virtual}: shorten the text{remedy}."
        )


def require_decoder(backbone: LoadedBackbone, what: str = "written") -> None:
    """Require a backbone that predicts tokens, where text is `written` or `scored`.

    Raises:
        BackboneError: If it is an encoder.
    """
    if backbone.kind == "encoder":
        raise BackboneError(
            f"backbone must be a decoder or an encoder-decoder where text is {what}, got the encoder "
            f"{backbone.name!r}, which only labels texts."
        )


def check_numbers(adapted: Adapted, values: Tensor, what: str) -> None:
    """Require finite numbers of a model; of others the choice of an answer would mean nothing.

    Args:
        adapted: The adapted model that gave them.
        values: The numbers, of any shape.
        what: What they are, in the plural.

    Raises:
        TrainingError: If one is infinite or not a number.
    """
    if not values.isfinite().all():
        backbone = adapted.backbone
        kind = str(next(backbone.decoder.parameters()).dtype).removeprefix("torch.")
        raise TrainingError(
            f"{what} must be finite numbers, got NaN or infinite ones from backbone {backbone.name!r} in "
            f"{kind}: {NOT_NUMBERS}."
        )


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return positions in batches of one size, as `protocols.batch.batches_by_length`.

    Raises:
        ConfigError: If `batch_size` is no whole number of at least 1.
    """
    checks.integer("batch_size", batch_size)
    return batches_by_length(lengths, lambda _: batch_size)


def padded(
    rows: Sequence[Sequence[int]], fill: int, *, left: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pad rows to one length; return values (B, T) int64 and a mask that is True at a row's own values."""
    width = max(len(row) for row in rows)
    values_BT = torch.full((len(rows), width), fill, dtype=torch.long)
    mask_BT = torch.zeros((len(rows), width), dtype=torch.bool)
    for position, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        values_BT[position, place] = torch.tensor(row, dtype=torch.long)
        mask_BT[position, place] = True
    return values_BT.to(device), mask_BT.to(device)


_CPU_EXHAUSTED = "can't allocate memory"
"""What PyTorch's CPU allocator says in a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a GPU or in the machine."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and _CPU_EXHAUSTED in str(error)
    )


def lack_of_memory(error: BaseException) -> BaseException | None:
    """Return the lack of memory that an error is or came of, such as one of a step's compilation, or None."""
    found: BaseException | None = error
    while found is not None and not is_out_of_memory(found):
        found = found.__cause__ or found.__context__
    return found


@contextmanager
def evaluating(adapted: Adapted, batch_size: int) -> Iterator[None]:
    """Hold every module in evaluation mode without gradients, and put each back as it was.

    Raises:
        TrainingError: If the device runs out of memory; the message names the setting to change.
    """
    modes = [(module, module.training) for module in adapted.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        remedy = f"set it to {batch_size // 2}" if batch_size > 1 else "take fewer beams"
        raise TrainingError(
            "batch_size (of a run: evaluation.batch_size) must be small enough for the device's "
            f"memory, got {batch_size}: {remedy}."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
