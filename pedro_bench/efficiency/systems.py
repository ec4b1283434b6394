"""Systems: the bare backbone, an adapted or merged one, a bank of tenants, and peft's mixed batch of LoRA.

Each is put on the one backbone for the time of a `with` block and gives `generate`, which passes what it
needs to Transformers' own search. Adapters are random, far from their starts, so nothing is skipped.

    W' = W + update(I)^T        merging: the update alone, of the unit matrix, over a base of zeros

Merged weights serve one adapter and no other. The backbone's own are kept in main memory meanwhile and put
back bit for bit.

Legend: I in-features, O out-features.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.efficiency.request import BARE, MERGEABLE, Request
from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.methods.adalora import AdaLora
from pedro_bench.methods.lora import Lora
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone, Site
from pedro_bench.protocols.context import PromptContext
from pedro_bench.protocols.method import Method
from pedro_bench.serving import AdapterBank, TenantAdapter

PEER = "peft_lora"
"""Name of peft's mixed batch in rows and records."""

_NOISE = 0.02
"""Standard deviation of what is added to every trained tensor."""


@dataclass(frozen=True)
class Generate:
    """`generate(mask_BT, **options for Transformers' generate)`.

    Attributes:
        run: What is called.
        modules: All modules whose weights it reads.
        bytes_per_tenant: What each tenant of a bank takes beside the backbone; None without a bank.
    """

    run: Callable[..., Tensor]
    modules: tuple[nn.Module, ...]
    bytes_per_tenant: int | None = None

    def __call__(self, mask_BT: Tensor, **options: Any) -> Tensor:
        """Return prompts with what was generated, (B, T)."""
        return self.run(mask_BT, **options)


@contextmanager
def bare(backbone: LoadedBackbone) -> Iterator[Generate]:
    """The backbone without a method and without a hook."""
    yield Generate(_within(backbone, PromptContext), tuple(backbone.model.modules()))


@contextmanager
def adapted(backbone: LoadedBackbone, method: Method, seed: int) -> Iterator[Generate]:
    """One adapter of a method."""
    with seeded(backbone.device, seed):
        model = AdaptedModel(backbone, after_search(backbone, method))
        try:
            model.check_count()
            randomise(model.adapter)
            model.eval()
            yield Generate(_within(backbone, model.context), tuple(model.modules()))
        finally:
            model.remove()


@contextmanager
def bank(backbone: LoadedBackbone, method: Method, tenants: int, seed: int) -> Iterator[Generate]:
    """A bank in which the sequences of a batch belong to one tenant after another."""
    with seeded(backbone.device, seed):
        start = _start(backbone, after_search(backbone, method))
        held = AdapterBank(backbone, start.method)
        try:
            names = [f"tenant {index}" for index in range(tenants)]
            for name in names:
                held.add(name, _another(start, backbone.device))
            del start

            def context(mask_BT: Tensor) -> PromptContext:
                return held.context(mask_BT, [names[row % tenants] for row in range(len(mask_BT))])

            yield Generate(
                _within(backbone, context),
                tuple(backbone.model.modules()),
                held.memory().bytes_per_tenant,
            )
        finally:
            held.close()


@contextmanager
def peer(backbone: LoadedBackbone, method: Lora, tenants: int, seed: int) -> Iterator[Generate]:
    """Peft's LoRA on the same weights, with `adapter_names` for each sequence of a batch."""
    import peft

    paths = {site.path.rpartition(".")[2] for role in method.roles for site in backbone.sites(role)}
    names = [f"tenant_{index}" for index in range(tenants)]
    config = peft.LoraConfig(
        r=method.r, lora_alpha=method.alpha, target_modules=sorted(paths), task_type="CAUSAL_LM"
    )
    own = {
        path: module
        for path, module in backbone.model.named_modules()
        if path.rpartition(".")[2] in paths
    }
    with seeded(backbone.device, seed):
        try:
            model = peft.get_peft_model(backbone.model, config, adapter_name=names[0])
            for name in names[1:]:
                model.add_adapter(name, config)
            with torch.no_grad():
                for path, tensor in model.named_parameters():
                    if "lora_" in path:
                        tensor.copy_(_noisy(tensor))
            model.eval()

            def generate(mask_BT: Tensor, **options: Any) -> Tensor:
                chosen = [names[row % tenants] for row in range(len(mask_BT))]
                beams = options["generation_config"].num_beams
                # peft repeats the names for beams only where this argument gives their number.
                repeated = {"num_beams": beams} if beams > 1 else {}
                made: Tensor = model.generate(
                    attention_mask=mask_BT.long(), adapter_names=chosen, **repeated, **options
                )
                return made

            yield Generate(generate, tuple(model.modules()))
        finally:
            for path, module in own.items():  # `unload` needs a model that was made to its end
                backbone.model.set_submodule(path, module)
            for name in ("peft_config", "_hf_peft_config_loaded"):
                backbone.model.__dict__.pop(name, None)
            backbone.model.requires_grad_(False)


def has_peft() -> bool:
    """Whether peft is installed."""
    return find_spec("peft") is not None


def check_peer() -> None:
    """Require peft, which is no part of an ordinary installation.

    Raises:
        ConfigError: If it is not installed.
    """
    if not has_peft():
        raise ConfigError(
            "peft must be installed to compare tenants with its mixed batches of LoRA, got none: "
            "install the extra dev, or leave lora out of methods."
        )


def _within(
    backbone: LoadedBackbone, context: Callable[[Tensor], PromptContext]
) -> Callable[..., Tensor]:
    """Return a `generate` that runs in a context of its own each time."""

    def generate(mask_BT: Tensor, **options: Any) -> Tensor:
        with context(mask_BT).active() as active:
            if options["generation_config"].num_beams > 1:
                active.expand(options["generation_config"].num_beams)
            made: Tensor = backbone.model.generate(attention_mask=mask_BT.long(), **options)
        return made

    return generate


def after_search(backbone: LoadedBackbone, method: Method) -> Method:
    """Return the method that answers: of one that searches first, what a random search finds."""
    if not method.is_searching:
        return method
    searched = AdaptedModel(backbone, method)
    try:
        randomise(searched.adapter)
        following = method.following(searched.adapter)
    finally:
        searched.remove()
    return method if following is None else following


def _start(backbone: LoadedBackbone, method: Method) -> TenantAdapter:
    """Return what a tenant starts from, in main memory; nothing of it stays on the device."""
    template = AdaptedModel(backbone, method)
    try:
        template.check_count()
        return TenantAdapter.of(template)
    finally:
        template.remove()


def _another(start: TenantAdapter, device: torch.device) -> TenantAdapter:
    """Return an adapter of another tenant, drawn on the device; the bank keeps a copy of its own."""
    tensors = {name: _noisy(tensor.to(device)) for name, tensor in start.tensors.items()}
    return TenantAdapter(start.method, start.backbone_revision, tensors)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed PyTorch, and give the caller's random streams back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def randomise(adapter: nn.Module) -> None:
    """Move every trained tensor away from its start."""
    for parameter in adapter.parameters():
        parameter.copy_(_noisy(parameter))


def _noisy(tensor: Tensor) -> Tensor:
    return tensor + _NOISE * torch.randn_like(tensor)


@contextmanager
def merged(backbone: LoadedBackbone, method: Lora | AdaLora, seed: int) -> Iterator[Generate]:
    """One random adapter of one of `request.MERGEABLE`, merged into the weights."""
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        _merge(backbone, method, seed, kept)
        with bare(backbone) as generate:
            yield generate
    finally:
        for rows, before in kept:
            rows.copy_(before)


def _merge(
    backbone: LoadedBackbone,
    method: Lora | AdaLora,
    seed: int,
    kept: list[tuple[Tensor, Tensor]],
) -> None:
    """Add an adapter to the weights; `kept` takes each changed part of them, and what it held before."""
    with seeded(backbone.device, seed):
        model = AdaptedModel(backbone, method)
        try:
            randomise(model.adapter)
            model.eval()
        finally:
            model.remove()
    for role in method.roles:
        for site in backbone.sites(role):
            if site.is_quantised:
                raise InjectionError(
                    "weights that an adapter is merged into must be plain numbers, got quantised ones in "
                    f"{site.path!r}, where rounding would lose it: leave backbone.quantization away."
                )
            rows = site.weight()
            kept.append((rows, rows.to("cpu", copy=True)))
            block = model.adapter.get_submodule(f"layers.{site.layer}.{site.role}")
            rows += update_of(block, site, rows.device).to(rows.dtype).view(rows.shape)


@torch.no_grad()
def update_of(block: nn.Module, site: Site, device: torch.device) -> Tensor:
    """Return what a block beside a projection adds to its weights, (O, I) in float32."""
    unit_II = torch.eye(site.inputs, device=device)
    update_IO: Tensor = block(unit_II, unit_II.new_zeros(site.inputs, site.outputs))
    return update_IO.mT


@dataclass(frozen=True)
class System:
    """One system under one setting.

    Attributes:
        name: Name of its rows.
        method: Its method; None for the bare backbone.
        beams: Beams of each prompt.
        sequences: Prompts in a batch; `tenants` that they belong to, 1 or as many.
        is_mixed: Whether tenants are served from a bank or by the peer, be it one.
        decoding: One of `evaluation.config.DECODINGS`; the peer's is always plain.
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
        """Report the system in one line."""
        merged = ", merged" if self.is_merged else ""
        return (
            f"{self.name}{merged}, {self.decoding}, beams {self.beams}, sequences {self.sequences}, "
            f"tenants {self.tenants}"
        )

    def setting(self) -> dict[str, int | bool | str]:
        """Return what it is measured under, as rows and records report it."""
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
            return bare(backbone)
        if self.name == PEER:
            return peer(backbone, self.method, self.tenants, seed)  # type: ignore[arg-type]
        if self.is_merged:
            return merged(backbone, self.method, seed)  # type: ignore[arg-type]
        if self.is_mixed:
            return bank(backbone, self.method, self.tenants, seed)
        return adapted(backbone, self.method, seed)


def systems_of(methods: dict[str, Method | None], request: Request) -> list[System]:
    """Return all systems, in the order they take turns.

    Beside a batch of mixed tenants stands the same batch of one tenant, and of the bare backbone; peft's
    LoRA is measured with tenants wherever LoRA is. What is asked for merged stands after all methods.
    """
    found = []
    for count in request.beams:
        for how in request.decoding:
            found += [System(name, own, count, decoding=how) for name, own in methods.items()]
            found += [
                System(name, own, count, decoding=how, is_merged=True)
                for name, own in methods.items()
                if request.merged and isinstance(own, MERGEABLE)
            ]
        for size in request.tenants:
            for how in request.decoding:
                found += _batches(methods, count, size, how)
            if "lora" in methods:
                peer = methods["lora"]
                found.append(System(PEER, peer, count, size, size, is_mixed=True))
    return found


def _batches(methods: dict[str, Method | None], beams: int, size: int, how: str) -> list[System]:
    """Return the batches of one size: of one tenant, and mixed."""
    found = []
    for name, method in methods.items():
        if size > 1:
            found.append(System(name, method, beams, size, decoding=how))
        if name != BARE:
            found.append(System(name, method, beams, size, size, is_mixed=True, decoding=how))
    return found
