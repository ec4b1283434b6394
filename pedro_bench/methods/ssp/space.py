"""SSP's search space: the candidates at each place of a backbone.

A place is a module whose output is changed; a candidate is one change there, with a gate of its own.

    place                                                candidates, in the order of their gates
    layers.3.query, …    a projection of a layer         lora_0 … lora_{r-1}, bias
    layers.3.attn_out    attention's output              the same, then adapter
    layers.3.ffn_down    the feed-forward network's      the same, then adapter
    layers.3.norm_0, …   a normalisation of a layer      scale, bias
    norm                 the one outside the layers      scale, bias

Names of places and candidates are stored: in tensors' names, in `method.structure`, and so in keys of runs.
The module imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby

from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.backbone import BackboneShape, Site, Width
from pedro_bench.protocols.method import Injection

_WITH_ADAPTER = ("attn_out", "ffn_down")
"""Projections whose outputs are those of attention and of the feed-forward network."""

_NORM = "norm"
"""Role of the normalisations, and the place of the one outside the layers."""

_MOST_NEAR_NAMES = 5
"""Names in the message about an unknown one: all would be more than a thousand."""


@dataclass(frozen=True)
class Candidate:
    """One change that the search may keep.

    Attributes:
        place: Path of the place, such as `layers.3.query`.
        kind: `lora` (of rank 1), `bias`, `scale` or `adapter`.
        size: Parameters, n_i in the equations.
        number: Which of the place's LoRA modules it is, from 0; None for other kinds.
    """

    place: str
    kind: str
    size: int
    number: int | None = None

    @property
    def name(self) -> str:
        """Place and kind, such as `layers.3.query.lora_0` or `norm.scale`."""
        return f"{self.place}.{self.kind}" + ("" if self.number is None else f"_{self.number}")


@dataclass(frozen=True)
class Place:
    """The candidates of one place.

    Attributes:
        path: Path of the place.
        candidates: Its candidates, in the order of their gates.
        gates: Where the gates of its candidates are among the gates of all.
    """

    path: str
    candidates: tuple[Candidate, ...]
    gates: slice

    def count(self, kind: str) -> int:
        """Return how many candidates are of a kind."""
        return sum(candidate.kind == kind for candidate in self.candidates)


def search_space(shape: BackboneShape, r: int, reduction_factor: int) -> list[Candidate]:
    """List all candidates of a backbone, place by place, within a place in the order of their gates."""
    norms_per_layer = (shape.num_norms - 1) // shape.num_layers  # one is outside the layers
    found: list[Candidate] = []
    for layer, widths in enumerate(shape.widths):
        for role, width in widths.items():
            place = f"layers.{layer}.{role}"
            found += _at_projection(place, width, r)
            if role in _WITH_ADAPTER:
                found.append(_adapter_at(place, width.outputs, reduction_factor))
        for index in range(norms_per_layer):
            found += _at_norm(f"layers.{layer}.{_NORM}_{index}", shape.hidden_size)
    return [*found, *_at_norm(_NORM, shape.hidden_size)]


def _at_projection(place: str, width: Width, r: int) -> list[Candidate]:
    loras = [
        Candidate(place, "lora", width.inputs + width.outputs, number=number) for number in range(r)
    ]
    return [*loras, Candidate(place, "bias", width.outputs)]


def _adapter_at(place: str, width: int, reduction_factor: int) -> Candidate:
    # Down and up each have a left and a right vector and a bias: (d + 2 m) + (m + 2 d).
    return Candidate(place, "adapter", 3 * width + 3 * inner_width(width, reduction_factor))


def _at_norm(place: str, width: int) -> list[Candidate]:
    return [Candidate(place, "scale", width), Candidate(place, "bias", width)]


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
            nearest = get_close_matches(name, known, n=_MOST_NEAR_NAMES, cutoff=0)
            raise ConfigError(
                f"method.structure must name candidates of this backbone, got {name!r}."
                f"{near_match(name, nearest)}"
            )
    wanted = set(names)
    return [candidate for candidate in space if candidate.name in wanted]


def by_place(candidates: Sequence[Candidate]) -> list[Place]:
    """Group candidates, which stand place by place, by their places."""
    places: list[Place] = []
    num_gates = 0
    for path, group in groupby(candidates, key=lambda candidate: candidate.place):
        own = tuple(group)
        places.append(Place(path, own, slice(num_gates, num_gates + len(own))))
        num_gates += len(own)
    return places


def sites_of(injection: Injection) -> dict[str, Site]:
    """Return path of a place -> its site, for every place of a loaded backbone."""
    found = {
        f"layers.{site.layer}.{site.role}": site
        for site in injection.sites(tuple(injection.shape.widths[0]))
    }
    num_norms: dict[int, int] = {}
    for site in injection.sites((_NORM,)):
        if site.layer is None:
            found[_NORM] = site
            continue
        index = num_norms.get(site.layer, 0)
        num_norms[site.layer] = index + 1
        found[f"layers.{site.layer}.{_NORM}_{index}"] = site
    return found
