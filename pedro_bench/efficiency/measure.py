"""Measure: every system in turn, then all of them again in the opposite order, and so on.

Who stands first finds another machine than who stands last: memory that was claimed already, a processor
that grew warm. So the order is reversed from repeat to repeat, and every turn begins with the same number
of warm-ups, whoever takes it.

Legend: B sequences, T tokens of the padded prompt.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, StoppingCriteriaList

from pedro_bench.efficiency import meter
from pedro_bench.efficiency.request import Item, batch_of
from pedro_bench.efficiency.systems import Generate, System
from pedro_bench.evaluation.batches import lack_of_memory, padded
from pedro_bench.evaluation.decoding import without_own_settings
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.serving.fast_decoding import FastDecoder, stepping

_WARM_TOKENS = 4
"""Tokens of a warm-up's answers, or as many as the measured ones have where that is less."""


@dataclass(frozen=True)
class Sample:
    """One measurement of one system.

    Attributes:
        seconds: From the first prompt to the last token; `processor_seconds` of all threads of this process.
        first_token_seconds: Mean time to a batch's first token; `step_seconds` that of each further step.
        new_tokens: Generated tokens, of the answers alone (beams that lose do not count).
        peak_bytes: Highest memory: of the GPU's tensors, or of the process; other systems' are gone.
        reserved_bytes: On a GPU, the highest memory that PyTorch held there: with what a CUDA graph keeps to
            run in, which no tensor shows. None elsewhere.
        bytes_per_tenant: What each tenant of a bank takes beside the backbone; None without a bank.
    """

    seconds: float
    first_token_seconds: float
    step_seconds: float
    new_tokens: int
    peak_bytes: int
    processor_seconds: float
    reserved_bytes: int | None = None
    bytes_per_tenant: int | None = None

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


def turns(
    backbone: LoadedBackbone,
    chosen: Sequence[System],
    items: Sequence[Item],
    *,
    count: int,
    warmup: int,
    seed: int,
    report: Callable[[str], None],
) -> Iterator[tuple[int, System, Sample | OutOfMemory]]:
    """Measure all systems in turn, `count` times; give (repeat from 0, system, sample) after each turn.

    Every other repeat goes through the systems backwards. One that runs out of memory is reported and has
    no further turn; the others go on. Buffers of fast steps are given back after each turn, so none is
    charged with another's; what was compiled is kept.
    """
    longest = max(len(item.ids) for item in items) + max(item.new_tokens for item in items)
    decoders = [
        None
        if system.decoding == "plain"
        else FastDecoder(backbone, system.decoding, least_slots=longest)
        for system in chosen
    ]
    lost: dict[int, OutOfMemory] = {}
    order = list(enumerate(zip(chosen, decoders, strict=True)))
    for repeat in range(count):
        for place, (system, decoder) in order if repeat % 2 == 0 else reversed(order):
            if place in lost:
                yield repeat, system, lost[place]
                continue
            turn = _turn(backbone, system, items, decoder, warmup=warmup, seed=seed)
            if isinstance(turn, OutOfMemory):
                lost[place] = turn
            report(f"repeat {repeat + 1} of {count}: {system}: {turn}")
            yield repeat, system, turn


def _turn(
    backbone: LoadedBackbone,
    system: System,
    items: Sequence[Item],
    decoder: FastDecoder | None,
    *,
    warmup: int,
    seed: int,
) -> Sample | OutOfMemory:
    """Measure one system; leave no memory of it behind, whether it fitted or not."""
    try:
        return _sample(backbone, system, items, decoder, warmup=warmup, seed=seed)
    except (RuntimeError, MemoryError) as error:
        if lack_of_memory(error) is None:
            raise
    finally:
        if decoder is not None:
            decoder.shapes.release()
    # The error is gone here; now the frames go that held the tensors.
    meter.release(backbone.device)
    return OutOfMemory(
        f"{'merged ' if system.is_merged else ''}{system.name} with beams={system.beams}, "
        f"decoding={system.decoding} and {system.sequences} sequences of {system.tenants} tenants must fit "
        "into the device's memory, got an allocation that failed: set fewer beams or tenants."
    )


@torch.no_grad()
def _sample(
    backbone: LoadedBackbone,
    system: System,
    items: Sequence[Item],
    decoder: FastDecoder | None,
    *,
    warmup: int,
    seed: int,
) -> Sample:
    whole = system.sequences > 1 or system.is_mixed
    batches = [batch_of(items, system.sequences)] if whole else [[item] for item in items]
    most = max(item.new_tokens for batch in batches for item in batch)
    device = backbone.device
    meter.release(device)
    with (
        without_own_settings(backbone.model),
        system.on(backbone, seed) as generate,
        stepping(decoder, generate.modules, max_new_tokens=most),
    ):
        meter.release(device)  # what was needed to put the system there is none of its memory
        # Where steps are fast, the first warm-up makes, compiles and records them.
        for index in range(warmup):
            batch = batches[index % len(batches)]
            short = [Item(one.ids, min(_WARM_TOKENS, one.new_tokens)) for one in batch]
            _timed(backbone, generate, short, system.beams)
        meter.reset_peak(device)
        before = time.process_time()
        times = [_timed(backbone, generate, batch, system.beams) for batch in batches]
        processor = time.process_time() - before
        peak, reserved = meter.peak_bytes(device), meter.reserved_bytes(device)
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
        reserved_bytes=reserved,
        bytes_per_tenant=generate.bytes_per_tenant,
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
