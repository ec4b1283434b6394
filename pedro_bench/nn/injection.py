"""Put a method into a backbone by role, and take it out again bit for bit.

All wiring is done with forward hooks, so the backbone's modules and state dict keep their names; what a
method trains lives in one separate module tree, the adapter. `undo` removes the hooks and restores the
bits of backbone parameters that were trained.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.errors import InjectionError
from pedro_bench.nn.sharding import is_sharded
from pedro_bench.protocols.backbone import (
    LINEAR_ROLES,
    BackboneShape,
    LoadedBackbone,
    Site,
    present,
)
from pedro_bench.protocols.context import current_context


class BackboneInjection:
    """Implementation of `protocols.method.Injection` that remembers how to undo everything.

    Args:
        backbone: The loaded backbone to change.
        method_name: Name of the method, for messages.

    Attributes:
        adapter: Module tree with all trainable parameters of the method.
    """

    def __init__(self, backbone: LoadedBackbone, method_name: str) -> None:
        self._backbone = backbone
        self._method_name = method_name
        self._undo: list[Callable[[], None]] = []
        self.adapter = nn.Module()

    @property
    def shape(self) -> BackboneShape:
        """Sizes of the backbone."""
        return self._backbone.shape

    @property
    def positions(self) -> str:
        """How the backbone knows where a token stands, one of `protocols.backbone.POSITIONS`."""
        return self._backbone.positions

    @property
    def kind(self) -> str:
        """What the backbone reads and writes, one of `protocols.backbone.KINDS`."""
        return self._backbone.kind

    def sites(self, roles: Sequence[str]) -> list[Site]:
        """Return every place of the roles: layer by layer, within a layer in the order asked.

        A feed-forward network without a gate has none to adapt: `ffn_gate` is then left out of several roles.

        Raises:
            InjectionError: If no role is asked for, or one matches nothing in the backbone.
        """
        if not roles:
            raise InjectionError(
                f"method {self._method_name!r} must adapt at least one role, got none."
            )
        asked = present(roles, self.shape.widths[0])
        found = [(site, order) for order, role in enumerate(asked) for site in self._find(role)]
        found.sort(key=lambda pair: (-1 if pair[0].layer is None else pair[0].layer, pair[1]))
        return [site for site, _ in found]

    def _find(self, role: str) -> Sequence[Site]:
        sites = self._backbone.sites(role)
        if not sites:
            raise InjectionError(
                f"role {role!r} of method {self._method_name!r} must match a module, got none in "
                f"backbone {self._backbone.name!r}."
            )
        return sites

    def add(self, name: str, module: nn.Module) -> Any:
        """Register a trainable module under a dotted path and return it, on the backbone's device.

        A module whose attribute `path` is the empty string is told its own.

        Raises:
            InjectionError: If the path is taken.
        """
        *parents, leaf = name.split(".")
        tree = _descend(self.adapter, parents)
        if leaf in dict(tree.named_children()):
            raise InjectionError(f"adapter path {name!r} must be free, got a module there already.")
        added: Any = module.to(self._backbone.device)
        if getattr(added, "path", None) == "":
            added.path = name
        tree.add_module(leaf, added)
        return added

    def on_input(self, site: Site, change: Callable[[Tensor], Tensor | None]) -> None:
        """Call `change` on the first input of the site's module; a returned tensor replaces it.

        It has the input's shape; only a layer may get more or fewer tokens.

        Raises:
            InjectionError: If the module is a fused projection, whose input is several roles'.
        """
        if site.columns is not None:
            raise InjectionError(
                f"method {self._method_name!r} must change inputs of modules that are one role alone, got "
                f"{site.role!r}, a part of the fused {site.path!r}."
            )

        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            given = args[0] if args else kwargs["hidden_states"]
            changed = change(given)
            if changed is None:
                return None
            self._check_shape("on_input", site, changed, given)
            if args:
                return (changed, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": changed}

        handle = site.module.register_forward_pre_hook(hook, with_kwargs=True)
        self._undo.append(handle.remove)

    def on_prompt(self, site: Site, see: Callable[[Tensor], None]) -> None:
        """Call `see` with the layer's input as prompts pass, or the encoder's output as answers begin."""
        names = list(inspect.signature(site.module.forward).parameters)

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            context = current_context()
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            encoded = given.get("encoder_hidden_states")
            if encoded is None:
                if context.stage == "prompt":
                    see(given["hidden_states"])
            elif context.num_cached == 0:
                see(encoded)

        handle = site.module.register_forward_pre_hook(hook, with_kwargs=True)
        self._undo.append(handle.remove)

    def on_arguments(
        self, site: Site, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Call `change` on the named arguments of the site's module; what it returns replaces them."""
        names = list(inspect.signature(site.module.forward).parameters)

        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            by_place = names[: len(args)]
            given = dict(zip(by_place, args, strict=True))
            answer = change({**given, **kwargs})
            if not isinstance(answer, Mapping):
                raise self._wrong_answer(
                    "on_arguments", site, answer, "a mapping of arguments by name"
                )
            changed = dict(answer)
            replaced = tuple(changed.pop(name, given[name]) for name in by_place)
            return replaced, {**kwargs, **changed}

        handle = site.module.register_forward_pre_hook(hook, with_kwargs=True)
        self._undo.append(handle.remove)

    def placed(self, tokens_BPD: Tensor, positions_BP: Tensor) -> Tensor:
        """Return embeddings of virtual tokens as the first layer gets them, of learned positions."""
        return self._backbone.placed(tokens_BPD, positions_BP)

    def on_positions(self, change: Callable[[Tensor], Tensor]) -> None:
        """Call `change` on the positions (B or 1, T) before they become embeddings; its result replaces them.

        Raises:
            InjectionError: If the backbone has no embeddings of positions.
        """
        sites = self._backbone.sites("positions")
        if not sites:
            raise InjectionError(
                f"method {self._method_name!r} must move positions on, which a bias of the attention scores "
                f"(ALiBi, relative positions) does not allow, got backbone {self._backbone.name!r}."
            )
        (site,) = sites
        is_rotary = "position_ids" in inspect.signature(site.module.forward).parameters
        # A table of learned positions is an nn.Embedding, whose argument is `input`.
        name = "position_ids" if is_rotary else "input"
        self.on_arguments(site, lambda arguments: {name: change(arguments[name])})

    def on_output(self, site: Site, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Replace the site's output by `change(input, output)`; of a fused projection, only its columns.

        What it returns has the output's shape; only a layer or the embedding may get more or fewer tokens.
        """

        def checked(given: Tensor, output: Tensor) -> Tensor:
            changed = change(given, output)
            self._check_shape("on_output", site, changed, output)
            return changed

        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> Any:
            given = args[0] if args else kwargs["hidden_states"]
            if isinstance(output, tuple):
                return (checked(given, output[0]), *output[1:])
            if site.columns is None:
                return checked(given, output)
            whole: Tensor = output.clone() if torch.is_grad_enabled() else output
            site.columns.put(whole, checked(given, site.columns.take(output)))
            return whole

        handle = site.module.register_forward_hook(hook, with_kwargs=True)
        self._undo.append(handle.remove)

    def _check_shape(self, hook: str, site: Site, changed: Any, before: Tensor) -> None:
        """Require of a hook's answer the shape of what it replaces, (…, width); see `on_output`.

        Raises:
            InjectionError: If it is no tensor, or one of another shape.
        """
        if isinstance(changed, Tensor):
            if changed.shape == before.shape:
                return
            is_same_width = changed.ndim == before.ndim and changed.shape[-1] == before.shape[-1]
            if is_same_width and site.role not in LINEAR_ROLES:
                return
        wanted = f"a tensor of shape {tuple(before.shape)}"
        raise self._wrong_answer(hook, site, changed, wanted)

    def _wrong_answer(self, hook: str, site: Site, answer: Any, wanted: str) -> InjectionError:
        got = (
            f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        )
        layer = "" if site.layer is None else f" of layer {site.layer}"
        same = " (return the output as it is where nothing changes)" if answer is None else ""
        return InjectionError(
            f"method {self._method_name!r} must return {wanted} from its {hook} at {site.role!r}{layer}, got "
            f"{got}{same}."
        )

    def train_backbone(self, selects: Callable[[str], bool]) -> None:
        """Make backbone parameters trainable and part of the adapter; `undo` restores their bits.

        Raises:
            InjectionError: If nothing is selected, a selected parameter is not float32 (updates of an
                ordinary learning rate vanish in the rounding of half precision), or the backbone's
                layers are split over processes.
        """
        chosen = [item for item in self._backbone.model.named_parameters() if selects(item[0])]
        if not chosen:
            raise InjectionError(
                f"method {self._method_name!r} must train some backbone parameter, got none selected."
            )
        if is_sharded(self._backbone):
            raise InjectionError(
                f"method {self._method_name!r} trains the backbone's own weights, which must be whole in "
                "every process, got layers split by FSDP: start accelerate without --use_fsdp."
            )
        for path, parameter in chosen:
            if not parameter.is_floating_point():
                raise InjectionError(
                    f"method {self._method_name!r} trains the backbone's own weights, which must be plain "
                    f"numbers, got quantised ones in {path!r}: leave backbone.quantization away, or "
                    "choose a method that adds parameters of its own."
                )
            if parameter.dtype.itemsize < 4:
                raise InjectionError(
                    f"method {self._method_name!r} trains the backbone's own weights, which must be "
                    f"float32, got {parameter.dtype} in {path!r}: set backbone.dtype=float32 "
                    "(trainer.precision=bf16 still computes in bfloat16)."
                )
            self._train_parameter(path, parameter)

    def _train_parameter(self, path: str, parameter: nn.Parameter) -> None:
        original = parameter.detach().to("cpu", copy=True)
        *parents, leaf = ["backbone", *path.split(".")]
        _descend(self.adapter, parents).register_parameter(leaf, parameter)
        parameter.requires_grad_(True)

        def restore() -> None:
            parameter.requires_grad_(False)
            parameter.grad = None
            parameter.data.copy_(original)

        self._undo.append(restore)

    def undo(self) -> None:
        """Remove everything that was put in, last first."""
        while self._undo:
            self._undo.pop()()


def _descend(root: nn.Module, path: Sequence[str]) -> nn.Module:
    """Return the module at a path below `root`, making empty ones on the way."""
    tree = root
    for name in path:
        if name not in dict(tree.named_children()):
            tree.add_module(name, nn.Module())
        tree = getattr(tree, name)
    return tree
