"""Measure: every contestant in turn, then all of them again, `repeats` times.

Legend: B sequences, T tokens of the padded prompt.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteriaList

from pedro_bench.efficiency import contestants, meter
from pedro_bench.efficiency.contestants import Generate
from pedro_bench.efficiency.request import BARE
from pedro_bench.efficiency.workload import Item, batch_of
from pedro_bench.errors import TrainingError
from pedro_bench.evaluation.batches import padded
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.serving.fast_decoding import FastDecoder, stepping

_WARM_TOKENS = 4


@dataclass(frozen=True)
class Entry:
    """One contestant under one setting.

    Attributes:
        name: Name of its rows.
        method: Its method; None for the bare backbone.
        beams: Beams of each prompt.
        sequences: Prompts in a batch.
        tenants: Tenants that they belong to: 1, or as many as `sequences`.
        is_mixed: Whether tenants are served from a bank or by the peer, be it one.
        decoding: One of `request.DECODINGS`; the peer's is always plain.
    """

    name: str
    method: Method | None
    beams: int
    sequences: int = 1
    tenants: int = 1
    is_mixed: bool = False
    decoding: str = "plain"

    def on(self, backbone: LoadedBackbone, seed: int) -> AbstractContextManager[Generate]:
        """Put the contestant on the backbone for the time of a `with` block."""
        if self.method is None:
            return contestants.bare(backbone)
        if self.name == contestants.PEER:
            return contestants.peer(backbone, self.method, self.tenants, seed)  # type: ignore[arg-type]
        if self.is_mixed:
            return contestants.bank(backbone, self.method, self.tenants, seed)
        return contestants.adapted(backbone, self.method, seed)


@dataclass(frozen=True)
class Sample:
    """One measurement of one contestant.

    Attributes:
        seconds: From the first prompt to the last token.
        first_token_seconds: Mean time from a batch's beginning to its first token.
        step_seconds: Mean time of each further step.
        new_tokens: Generated tokens, of the answers alone (beams that lose do not count).
        peak_bytes: Highest memory: of the GPU, or of the process.
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


def entries(
    methods: dict[str, Method | None],
    beams: Sequence[int],
    tenants: Sequence[int],
    decodings: Sequence[str] = ("plain",),
) -> list[Entry]:
    """Return all contestants, in the order they take turns.

    Beside a batch of mixed tenants stands the same batch of one tenant, and of the bare backbone; peft's
    LoRA is measured with tenants wherever LoRA is.
    """
    found = []
    for count in beams:
        for how in decodings:
            found += [Entry(name, own, count, decoding=how) for name, own in methods.items()]
        for size in tenants:
            for how in decodings:
                found += _batches(methods, count, size, how)
            if "lora" in methods:
                peer = methods["lora"]
                found.append(Entry(contestants.PEER, peer, count, size, size, is_mixed=True))
    return found


def _batches(methods: dict[str, Method | None], beams: int, size: int, how: str) -> list[Entry]:
    """Return the batches of one size: of one tenant, and mixed."""
    found = []
    for name, method in methods.items():
        if size > 1:
            found.append(Entry(name, method, beams, size, decoding=how))
        if name != BARE:
            found.append(Entry(name, method, beams, size, size, is_mixed=True, decoding=how))
    return found


def samples(
    backbone: LoadedBackbone,
    chosen: Sequence[Entry],
    items: Sequence[Item],
    *,
    repeats: int,
    warmup: int,
    seed: int,
    tell: Callable[[str], None],
) -> list[list[Sample]]:
    """Measure all entries in turn, `repeats` times; return the samples of each entry.

    Raises:
        TrainingError: If the device runs out of memory; the message names the entry.
    """
    taken: list[list[Sample]] = [[] for _ in chosen]
    longest = max(len(item.ids) for item in items) + max(item.new_tokens for item in items)
    decoders = [
        None
        if entry.decoding == "plain"
        else FastDecoder(backbone, entry.decoding, least_slots=longest)
        for entry in chosen
    ]
    for repeat in range(repeats):
        for entry, decoder, found in zip(chosen, decoders, taken, strict=True):
            found.append(_sample(backbone, entry, items, decoder, warmup=warmup, seed=seed))
            tell(
                f"repeat {repeat + 1} of {repeats}: {entry.name}, {entry.decoding}, beams "
                f"{entry.beams}, sequences "
                f"{entry.sequences}, tenants {entry.tenants}: {found[-1].tokens_per_second:.1f} "
                "tokens/s"
            )
    return taken


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
    try:
        with (
            _plain_settings(backbone.model),
            entry.on(backbone, seed) as generate,
            stepping(decoder, generate.modules, max_new_tokens=most),
        ):
            # Where steps are compiled, the first warm-up compiles them.
            for index in range(warmup if decoder is None else max(1, warmup)):
                short = [Item(one.ids, _WARM_TOKENS) for one in batches[index % len(batches)]]
                _timed(backbone, generate, short, entry.beams)
            meter.reset_peak(device)
            before = time.process_time()
            times = [_timed(backbone, generate, batch, entry.beams) for batch in batches]
            processor = time.process_time() - before
            peak = meter.peak_bytes(device)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{entry.name} with beams={entry.beams} and {entry.sequences} sequences must fit into "
            "the device's memory, got an allocation that failed: set fewer beams or tenants."
        ) from error
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
