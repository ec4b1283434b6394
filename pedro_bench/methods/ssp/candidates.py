"""The search space of S3PET on one backbone: which small modules stand to be chosen, and their sizes.

Nothing here imports torch, so that a count needs no weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.method import Injection

_ADAPTED = ("attn_out", "ffn_down")
"""Projections whose outputs are those of attention and of the feed-forward network."""

_SHOWN = 5
"""Names in the message about an unknown one: all would be more than a thousand."""


@dataclass(frozen=True)
class Candidate:
    """One module that the search may keep.

    Attributes:
        place: Path of the changed module, such as `layers.3.query`.
        kind: `lora`, `bias`, `scale` or `adapter`.
        name: Place and kind; of LoRA modules, also the number within the place.
        size: Its parameters.
    """

    place: str
    kind: str
    name: str
    size: int


def search_space(shape: BackboneShape, r: int, reduction_factor: int) -> list[Candidate]:
    """List all candidates, place by place, within a place in the order of their gates.

    Args:
        shape: Sizes of the backbone.
        r: LoRA modules of rank 1 at each projection.
        reduction_factor: Width of the adapted output over an adapter's inner width.
    """
    found: list[Candidate] = []

    def add(place: str, kind: str, size: int, suffix: str = "") -> None:
        found.append(Candidate(place, kind, f"{place}.{kind}{suffix}", size))

    def add_norm(place: str) -> None:
        add(place, "scale", shape.hidden_size)
        add(place, "bias", shape.hidden_size)

    for layer, widths in enumerate(shape.widths):
        for role, width in widths.items():
            place = f"layers.{layer}.{role}"
            for number in range(r):
                add(place, "lora", width.inputs + width.outputs, f"_{number}")
            add(place, "bias", width.outputs)
            if role in _ADAPTED:
                inner = inner_width(width.outputs, reduction_factor)
                add(place, "adapter", 3 * width.outputs + 3 * inner)
        for index in range((shape.num_norms - 1) // shape.num_layers):
            add_norm(f"layers.{layer}.norm_{index}")
    add_norm("norm")
    return found


def inner_width(width: int, reduction_factor: int) -> int:
    """Return an adapter's inner width, at least 1."""
    return max(1, width // reduction_factor)


def select(space: Sequence[Candidate], names: Sequence[str]) -> list[Candidate]:
    """Return the named candidates in the order of the space.

    Raises:
        ConfigError: If a name is not in the space.
    """
    known = dict.fromkeys(candidate.name for candidate in space)
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=_SHOWN, cutoff=0)
            raise ConfigError(
                f"method.structure must name candidates of this backbone, got {name!r}."
                f"{near_match(name, nearest)}"
            )
    wanted = set(names)
    return [candidate for candidate in space if candidate.name in wanted]


def by_place(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Group candidates by place, order kept."""
    grouped: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        grouped.setdefault(candidate.place, []).append(candidate)
    return grouped


def places(injection: Injection) -> Iterator[tuple[str, Site]]:
    """Yield the path and the site of each place of the search space in a loaded backbone."""
    for site in injection.sites(tuple(injection.shape.widths[0])):
        yield f"layers.{site.layer}.{site.role}", site
    seen: dict[int, int] = {}
    for site in injection.sites(("norm",)):
        if site.layer is None:
            yield "norm", site
            continue
        index = seen.setdefault(site.layer, 0)
        seen[site.layer] += 1
        yield f"layers.{site.layer}.norm_{index}", site
