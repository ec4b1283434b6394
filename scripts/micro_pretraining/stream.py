"""The stream of packed sequences: step s of seed k is always the same batch."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from micro_pretraining import practice_text, pretraining_text, transfer_text

Writer = Callable[..., pretraining_text.Document]


class PackedStream(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches by step number: token ids and which of them the loss counts, of packed documents.

    Every document starts with the begin token and ends with the end token. The next document follows
    at once; the last one of a sequence is cut.

    Args:
        tokenizer: The tokenizer.
        seed: Seed of the stream.
        steps: Number of steps.
        batch_size: Sequences per step.
        length: Tokens per sequence.
        short_steps: Steps at the start with twice the sequences of less than half the length, in
            which copying is learned.
        curriculum_steps: Steps after which progress along the curriculum is 1.
        practice_from: First step of the second phase, in which verdicts are practised.
        transfer_from: First step of the third phase, in which they are carried over other words.
        transfer_curriculum_steps: Steps of the third phase in which it grows.
        invented_share: Share of the tokens that no reader could foresee that the loss counts; of
            all others it counts each.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int,
        steps: int,
        batch_size: int,
        length: int,
        short_steps: int,
        curriculum_steps: int,
        invented_share: float,
        practice_from: int | None = None,
        transfer_from: int | None = None,
        transfer_curriculum_steps: int = 900,
    ) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._steps = steps
        self._batch_size = batch_size
        self._length = length
        self._short_steps = short_steps
        self._curriculum_steps = curriculum_steps
        self._invented_share = invented_share
        self._practice_from = steps if practice_from is None else practice_from
        self._transfer_from = steps if transfer_from is None else transfer_from
        self._transfer_curriculum_steps = transfer_curriculum_steps
        self._words = pretraining_text.plain_words()

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Make the batch of a step.

        Returns:
            Token ids (batch, length) and whether the loss counts the token, of the same shape.
        """
        progress = step / max(1, self._curriculum_steps)
        rng = Random(f"micro:{self._seed}:{step}")
        ids: list[list[int]] = []
        counted: list[list[bool]] = []
        rows, length = batch_shape(step, self._batch_size, self._length, self._short_steps)
        write = pretraining_text.document
        if step >= self._transfer_from:
            write = transfer_text.transfer
            progress = (step - self._transfer_from) / self._transfer_curriculum_steps
        elif step >= self._practice_from:
            write = practice_text.practice
            progress = (step - self._practice_from) / (self._transfer_from - self._practice_from)
        for _ in range(rows):
            row, row_counted = self._sequence(write, rng, progress, length)
            ids.append(row)
            counted.append(row_counted)
        return torch.tensor(ids), torch.tensor(counted)

    def _sequence(
        self, write: Writer, rng: Random, progress: float, length: int
    ) -> tuple[list[int], list[bool]]:
        begin, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        ids: list[int] = []
        counted: list[bool] = []
        while len(ids) < length:
            document = write(rng, progress=progress, plain_words=self._words)
            ids.append(begin)
            counted.append(False)
            texts = [piece.text for piece in document]
            encoded = self._tokenizer.backend_tokenizer.encode_batch_fast(
                texts, add_special_tokens=False
            )
            for piece, encoding in zip(document, encoded, strict=True):
                ids += encoding.ids
                counted += [
                    piece.foreseeable or rng.random() < self._invented_share for _ in encoding.ids
                ]
            ids.append(end)
            counted.append(rng.random() < self._invented_share)
        return ids[:length], counted[:length]


def batch_shape(step: int, batch_size: int, length: int, short_steps: int) -> tuple[int, int]:
    """Sequences and tokens per sequence of a step's batch."""
    return (2 * batch_size, length * 2 // 5) if step < short_steps else (batch_size, length)
