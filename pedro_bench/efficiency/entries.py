"""Entries: which systems take turns, under which settings, in which order."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from pedro_bench.efficiency import merging, systems
from pedro_bench.efficiency.request import BARE, MERGEABLE, Request
from pedro_bench.efficiency.systems import Generate
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method


@dataclass(frozen=True)
class Entry:
    """One system under one setting.

    Attributes:
        name: Name of its rows.
        method: Its method; None for the bare backbone.
        beams: Beams of each prompt.
        sequences: Prompts in a batch.
        tenants: Tenants that they belong to: 1, or as many as `sequences`.
        is_mixed: Whether tenants are served from a bank or by the peer, be it one.
        decoding: One of `request.DECODINGS`; the peer's is always plain.
        is_merged: Whether its update was added to the weights.
    """

    name: str
    method: Method | None
    beams: int
    sequences: int = 1
    tenants: int = 1
    is_mixed: bool = False
    decoding: str = "plain"
    is_merged: bool = False

    def __str__(self) -> str:
        """Tell the system in one line."""
        merged = ", merged" if self.is_merged else ""
        return (
            f"{self.name}{merged}, {self.decoding}, beams {self.beams}, sequences {self.sequences}, "
            f"tenants {self.tenants}"
        )

    def setting(self) -> dict[str, int | bool | str]:
        """Return what it is measured under, as rows and records tell it."""
        return {
            "beams": self.beams,
            "sequences": self.sequences,
            "tenants": self.tenants,
            "mixed": self.is_mixed,
            "decoding": self.decoding,
            "merged": self.is_merged,
        }

    def on(self, backbone: LoadedBackbone, seed: int) -> AbstractContextManager[Generate]:
        """Put the system on the backbone for the time of a `with` block."""
        if self.method is None:
            return systems.bare(backbone)
        if self.name == systems.PEER:
            return systems.peer(backbone, self.method, self.tenants, seed)  # type: ignore[arg-type]
        if self.is_merged:
            return merging.merged(backbone, self.method, seed)  # type: ignore[arg-type]
        if self.is_mixed:
            return systems.bank(backbone, self.method, self.tenants, seed)
        return systems.adapted(backbone, self.method, seed)


def entries(methods: dict[str, Method | None], request: Request) -> list[Entry]:
    """Return all systems, in the order they take turns.

    Beside a batch of mixed tenants stands the same batch of one tenant, and of the bare backbone; peft's
    LoRA is measured with tenants wherever LoRA is. What is asked for merged stands after all methods.
    """
    found = []
    for count in request.beams:
        for how in request.decoding:
            found += [Entry(name, own, count, decoding=how) for name, own in methods.items()]
            found += [
                Entry(name, own, count, decoding=how, is_merged=True)
                for name, own in methods.items()
                if request.merged and isinstance(own, MERGEABLE)
            ]
        for size in request.tenants:
            for how in request.decoding:
                found += _batches(methods, count, size, how)
            if "lora" in methods:
                peer = methods["lora"]
                found.append(Entry(systems.PEER, peer, count, size, size, is_mixed=True))
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
