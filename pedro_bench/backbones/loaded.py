"""A loaded model seen by role: sites, head, fingerprint and measured sizes.

Legend: N positions, D hidden, V vocabulary.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pedro_bench.backbones import folders
from pedro_bench.backbones.family import (
    Family,
    MissingModulesError,
    Projection,
    child,
    family_of,
    not_of_family,
)
from pedro_bench.errors import InjectionError, near_match
from pedro_bench.protocols.backbone import (
    LINEAR_ROLES,
    ROLES,
    BackboneShape,
    LoadedBackbone,
    Site,
    Width,
)
from pedro_bench.protocols.batch import Batch


class LoadedModel(LoadedBackbone):
    """A model of one of the families in memory; frozen and in evaluation mode."""

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        shape: BackboneShape,
        revision: str,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.shape = shape
        self.revision = revision
        self.family = family_of(model.config.model_type)
        self._folder = folder
        self._sites = find_sites(model, name)

    @property
    def decoder(self) -> nn.Module:
        """The stack of layers with their embedding, without a head."""
        return find_decoder(self.model, self.name)

    @property
    def kind(self) -> str:
        """What the model reads and writes."""
        return self.family.kind

    @property
    def stacks(self) -> tuple[nn.Module, ...]:
        """All stacks of layers, the one that reads the prompt first."""
        return self.family.stacks(self.model)

    def prompt(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return prompts (ids and mask, both (B, T)) as the first stack reads them."""
        return self.family.prompt(ids_BT, mask_BT, self.tokenizer)

    def states(self, batch: Batch) -> Tensor:
        """Return the last hidden states (B, T, D) of whole examples; position t - 1 predicts label t."""
        return self.family.states(self.model, batch, self.tokenizer)

    def placed(self, tokens_BPD: Tensor, positions_BP: Tensor) -> Tensor:
        """Return embeddings of virtual tokens as the first layer gets them, of learned positions."""
        return self.family.placed(self.model, tokens_BPD, positions_BP)

    @property
    def positions(self) -> str:
        """How the model knows where a token stands."""
        return self.family.positions(text_config(self.model))

    def sites(self, role: str) -> tuple[Site, ...]:
        """Return every place of a role, in layer order; none where the family lacks the role.

        Raises:
            InjectionError: If the role is unknown.
        """
        if role not in self._sites:
            raise InjectionError(
                f"role must be one that backbone {self.name} has, got {role!r}."
                + near_match(role, self._sites)
            )
        return self._sites[role]

    def head(self, hidden_ND: Tensor) -> Tensor:
        """Turn hidden states (N, D) into float32 logits (N, V).

        Whatever the family does after the matrix product is done here in float32.
        """
        logits_NV: Tensor = self.model.get_output_embeddings()(hidden_ND).float()
        return self.family.logits(logits_NV, text_config(self.model))

    def content(self) -> str:
        """Return the identity that the files would have in a local folder.

        The files of a Hub id are read for it, about a second per gigabyte.
        """
        if self._folder is None or self.revision.startswith(folders.HASHED):
            return self.revision
        _, _, tokenizer = self.revision.partition(" ")
        return f"{folders.HASHED}{folders.folder_hash(self._folder)} {tokenizer}".rstrip()

    def fingerprint(self) -> str:
        """Return a SHA-256 over names, types, shapes and bytes of all weights, tied ones once.

        Where the layers are split over processes it is over this process's share of them.
        """
        digest = hashlib.sha256()
        tensors: dict[str, Tensor] = {
            **dict(self.model.named_parameters()),
            **dict(self.model.named_buffers()),
        }
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            own: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            flat = own.detach().reshape(-1).contiguous().view(torch.uint8)
            digest.update(flat.cpu().numpy().data)
        return digest.hexdigest()


def text_config(model: Any) -> Any:
    """Return the configuration of a model's language part."""
    return model.config.get_text_config(decoder=True)


def find_decoder(model: Any, source: str) -> nn.Module:
    """Return the stack of layers of a causal language model.

    Raises:
        BackboneError: If the model has none with its family's names; the message says what is missing.
    """
    family = family_of(model.config.model_type)
    decoder = family.stack(model)
    expected = (family.layers, family.embedding, family.last_norm)
    missing = [path for path in expected if child(decoder, path) is None]
    if (decoder is model and family.kind != "encoder") or missing:
        raise not_of_family(model, family, source, missing or ["a decoder"])
    assert isinstance(decoder, nn.Module)
    return decoder


def find_sites(model: Any, source: str) -> dict[str, tuple[Site, ...]]:
    """Find every role of a model by the names that its family gives to modules.

    Raises:
        BackboneError: If a layer lacks one of the projections or has it more than once.
    """
    family, config = family_of(model.config.model_type), text_config(model)
    decoder = find_decoder(model, source)
    paths = {id(module): path for path, module in model.named_modules()}
    embedding: Any = child(family.stacks(model)[0], family.embedding)
    hidden = int(embedding.weight.shape[1])
    sites: dict[str, list[Site]] = {role: [] for role in ROLES}

    def add(role: str, layer: int | None, module: nn.Module | None, outputs: int) -> None:
        if module is not None:
            sites[role].append(Site(role, layer, paths[id(module)], module, 0, outputs))

    add("embedding", None, embedding, hidden)
    stacks: Any = [child(stack, family.layers) for stack in family.stacks(model)]
    for layer, block in enumerate(block for stack in stacks for block in stack):
        add("block", layer, block, hidden)
        projections = _projections(model, family, block, layer, source)
        for role, place in projections.items():
            sites[role].append(_site(role, layer, place, paths))
        attention, _, _ = paths[id(projections["query"].module)].rpartition(".")
        add("attention", layer, model.get_submodule(attention), hidden)
        for norm in family.norms(block):
            add("norm", layer, norm, hidden)
    add("norm", None, child(decoder, family.last_norm), hidden)
    if family.positions(config) != "bias":
        add("positions", None, child(decoder, family.position_module), 0)
    return {role: tuple(found) for role, found in sites.items()}


def _projections(
    model: Any, family: Family, block: nn.Module, layer: int, source: str
) -> dict[str, Projection]:
    """Return role -> place of one layer.

    Raises:
        BackboneError: If the layer lacks a module of its family.
    """
    try:
        return dict(family.projections(block, text_config(model)))
    except MissingModulesError as error:
        names = [f"{error} (exactly one each in layer {layer})"]
        raise not_of_family(model, family, source, names) from error


def _site(role: str, layer: int, place: Projection, paths: dict[int, str]) -> Site:
    """Return the site of a projection with its in- and out-features."""
    module: Any = place.module
    is_transposed = not isinstance(module, nn.Linear)  # Transformers' Conv1D
    inputs, outputs = (
        module.weight.shape if is_transposed else (module.in_features, module.out_features)
    )
    width = outputs if place.columns is None else place.columns.outputs
    path = paths[id(module)]
    return Site(role, layer, path, module, inputs, width, place.columns, is_transposed)


def measure_shape(model: Any, source: str) -> BackboneShape:
    """Read all sizes from the modules of a model (which may live on the meta device).

    Raises:
        BackboneError: If the model is of no family that works.
    """
    sites = find_sites(model, source)
    layers = len(sites["block"])
    widths: list[dict[str, Width]] = [{} for _ in range(layers)]
    for role in LINEAR_ROLES:
        for site in sites[role]:
            has_bias = getattr(site.module, "bias", None) is not None
            widths[site.layer or 0][role] = Width(site.inputs, site.outputs, has_bias)
    embedding: Any = sites["embedding"][0].module
    return BackboneShape(
        family=str(model.config.model_type),
        num_layers=layers,
        hidden_size=sites["embedding"][0].outputs,
        ffn_dim=widths[0]["ffn_up"].outputs,
        vocab_size=embedding.weight.shape[0],
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_norms=len(sites["norm"]),
        widths=tuple(widths),
        layer_parameters=tuple(
            sum(parameter.numel() for parameter in site.module.parameters())
            for site in sites["block"]
        ),
        max_positions=family_of(model.config.model_type).max_positions(text_config(model)),
    )
