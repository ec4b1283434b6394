"""Measure: every contestant in turn, then all of them again, `repeats` times.

Legend: B sequences, T tokens of the padded prompt.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteriaList

from pedro_bench.efficiency import meter
from pedro_bench.efficiency.contestants import Generate
from pedro_bench.efficiency.entries import Entry
from pedro_bench.efficiency.workload import Item, batch_of
from pedro_bench.evaluation.batches import padded
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.serving.fast_decoding import FastDecoder, stepping
from pedro_bench.training.failures import is_out_of_memory

_WARM_TOKENS = 4


@dataclass(frozen=True)
class Sample:
    """One measurement of one contestant.

    Attributes:
        seconds: From the first prompt to the last token.
        first_token_seconds: Mean time from a batch's beginning to its first token.
        step_seconds: Mean time of each further step.
        new_tokens: Generated tokens, of the answers alone (beams that lose do not count).
        peak_bytes: Highest memory: of the GPU, or of the process; other contestants' buffers are gone.
        processor_seconds: Processor time of this process, of all of its threads, over `seconds`.
    """

    seconds: float
    first_token_seconds: float
    step_seconds: float
    new_tokens: int
    peak_bytes: int
    processor_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Answers' tokens for each second."""
        return self.new_tokens / self.seconds

    def __str__(self) -> str:
        return f"{self.tokens_per_second:.1f} tokens/s"


@dataclass(frozen=True)
class OutOfMemory:
    """What stands in place of a sample where the device's memory was too small.

    Attributes:
        sentence: Who did not fit, and what to do.
    """

    sentence: str

    def __str__(self) -> str:
        return "out of memory"


def repeats(
    backbone: LoadedBackbone,
    chosen: Sequence[Entry],
    items: Sequence[Item],
    *,
    count: int,
    warmup: int,
    seed: int,
    tell: Callable[[str], None],
) -> Iterator[list[Sample | OutOfMemory]]:
    """Measure all entries in turn, `count` times; give each repeat's samples once it is whole.

    An entry that runs out of memory is told and has no further turn; the others go on. Buffers of fast
    steps are given back after each turn, so none is charged with another's; what was compiled is kept.
    """
    longest = max(len(item.ids) for item in items) + max(item.new_tokens for item in items)
    decoders = [
        None
        if entry.decoding == "plain"
        else FastDecoder(backbone, entry.decoding, least_slots=longest)
        for entry in chosen
    ]
    lost: dict[int, OutOfMemory] = {}
    for repeat in range(count):
        turns: list[Sample | OutOfMemory] = []
        for place, (entry, decoder) in enumerate(zip(chosen, decoders, strict=True)):
            if place in lost:
                turns.append(lost[place])
                continue
            turn = _turn(backbone, entry, items, decoder, warmup=warmup, seed=seed)
            if isinstance(turn, OutOfMemory):
                lost[place] = turn
            turns.append(turn)
            tell(
                f"repeat {repeat + 1} of {count}: {entry.name}, {entry.decoding}, beams "
                f"{entry.beams}, sequences {entry.sequences}, tenants {entry.tenants}: {turn}"
            )
        yield turns


def _turn(
    backbone: LoadedBackbone,
    entry: Entry,
    items: Sequence[Item],
    decoder: FastDecoder | None,
    *,
    warmup: int,
    seed: int,
) -> Sample | OutOfMemory:
    """Measure one entry; leave no memory of it behind, whether it fitted or not."""
    try:
        return _sample(backbone, entry, items, decoder, warmup=warmup, seed=seed)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
    finally:
        if decoder is not None:
            decoder.shapes.release()
    gc.collect()  # the error is gone here; now the frames go that held the tensors
    if backbone.device.type == "cuda":
        torch.cuda.empty_cache()
    return OutOfMemory(
        f"{entry.name} with beams={entry.beams}, decoding={entry.decoding} and {entry.sequences} "
        f"sequences of {entry.tenants} tenants must fit into the device's memory, got an allocation "
        "that failed: set fewer beams or tenants."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory, or came of one while a step was compiled or recorded."""
    found: BaseException | None = error
    while found is not None:
        if is_out_of_memory(found):
            return True
        found = found.__cause__ or found.__context__
    return False


@torch.no_grad()
def _sample(
    backbone: LoadedBackbone,
    entry: Entry,
    items: Sequence[Item],
    decoder: FastDecoder | None,
    *,
    warmup: int,
    seed: int,
) -> Sample:
    whole = entry.sequences > 1 or entry.is_mixed
    batches = [batch_of(items, entry.sequences)] if whole else [[item] for item in items]
    most = max(item.new_tokens for batch in batches for item in batch)
    device = backbone.device
    with (
        _plain_settings(backbone.model),
        entry.on(backbone, seed) as generate,
        stepping(decoder, generate.modules, max_new_tokens=most),
    ):
        # Where steps are fast, the first warm-up makes, compiles and records them.
        for index in range(warmup if decoder is None else max(1, warmup)):
            short = [Item(one.ids, _WARM_TOKENS) for one in batches[index % len(batches)]]
            _timed(backbone, generate, short, entry.beams)
        meter.reset_peak(device)
        before = time.process_time()
        times = [_timed(backbone, generate, batch, entry.beams) for batch in batches]
        processor = time.process_time() - before
        peak = meter.peak_bytes(device)
    seconds = sum(whole for whole, _ in times)
    firsts = sum(first for _, first in times)
    steps = sum(batch[0].new_tokens - 1 for batch in batches)
    return Sample(
        seconds=seconds,
        first_token_seconds=firsts / len(batches),
        step_seconds=(seconds - firsts) / steps,
        new_tokens=sum(item.new_tokens for batch in batches for item in batch),
        peak_bytes=peak,
        processor_seconds=processor,
    )


def _timed(
    backbone: LoadedBackbone, generate: Generate, batch: Sequence[Item], beams: int
) -> tuple[float, float]:
    """Generate for one batch; return the seconds to the end and to the first token."""
    device = backbone.device
    ids_BT, mask_BT = padded([item.ids for item in batch], 0, left=True, device=device)
    first = meter.FirstToken()
    settings = GenerationConfig(
        num_beams=beams,
        max_new_tokens=batch[0].new_tokens,
        do_sample=False,
        use_cache=True,
        pad_token_id=0,
    )
    started = meter.now(device)
    made_BT = generate(
        mask_BT,
        input_ids=ids_BT,
        generation_config=settings,
        stopping_criteria=StoppingCriteriaList([first]),
    )
    ended = meter.now(device)
    assert made_BT.shape == (len(batch), ids_BT.shape[1] + batch[0].new_tokens)
    assert first.at is not None
    return ended - started, first.at - started


@contextmanager
def _plain_settings(model: Any) -> Iterator[None]:
    """Set aside a checkpoint's own settings: no end-of-sequence token ends a generation early."""
    shipped = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = shipped
