"""Entries: which contestants take turns, under which settings, in which order."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pedro_bench.efficiency import contestants
from pedro_bench.efficiency.contestants import Generate
from pedro_bench.efficiency.request import BARE
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method


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

    def setting(self) -> dict[str, int | bool | str]:
        """Return what it is measured under, as rows and records tell it."""
        return {
            "beams": self.beams,
            "sequences": self.sequences,
            "tenants": self.tenants,
            "mixed": self.is_mixed,
            "decoding": self.decoding,
        }

    def on(self, backbone: LoadedBackbone, seed: int) -> AbstractContextManager[Generate]:
        """Put the contestant on the backbone for the time of a `with` block."""
        if self.method is None:
            return contestants.bare(backbone)
        if self.name == contestants.PEER:
            return contestants.peer(backbone, self.method, self.tenants, seed)  # type: ignore[arg-type]
        if self.is_mixed:
            return contestants.bank(backbone, self.method, self.tenants, seed)
        return contestants.adapted(backbone, self.method, seed)


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
