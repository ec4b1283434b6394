"""A loaded Llama-family model seen by role: sites, head, fingerprint and measured sizes.

Legend: N positions, D hidden, V vocabulary.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pedro_bench.backbones import folders
from pedro_bench.backbones.shapes import position_limit
from pedro_bench.errors import BackboneError, InjectionError, near_match
from pedro_bench.protocols.backbone import (
    LINEAR_ROLES,
    ROLES,
    BackboneShape,
    LoadedBackbone,
    Site,
    Width,
)

MODULE_NAMES = dict(
    zip(
        LINEAR_ROLES,
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        strict=True,
    )
)
"""Role -> last part of the module's path within a layer."""


class LoadedLlama(LoadedBackbone):
    """A Llama-family model in memory; frozen and in evaluation mode."""

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
        self._folder = folder
        self._sites = find_sites(model, name)

    @property
    def decoder(self) -> nn.Module:
        """The stack of layers without the language-modelling head."""
        return find_decoder(self.model, self.name)

    def sites(self, role: str) -> tuple[Site, ...]:
        """Return every place of a role, in layer order.

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

        Whatever the family does after the matrix product is done here in float32: a factor
        (Cohere), a divisor (Granite), soft-capping (Gemma 2 and 3).
        """
        logits_NV: Tensor = self.model.get_output_embeddings()(hidden_ND).float()
        config = self.model.config.get_text_config(decoder=True)
        scale = getattr(config, "logit_scale", None)
        if scale is not None:
            logits_NV = logits_NV * scale
        divisor = getattr(config, "logits_scaling", None)
        if divisor is not None:
            logits_NV = logits_NV / divisor
        cap = getattr(config, "final_logit_softcapping", None)
        if cap is not None:
            logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV

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


def find_decoder(model: Any, source: str) -> nn.Module:
    """Return the stack of layers of a causal language model.

    Raises:
        BackboneError: If the model has none with Llama's names; the message says what is missing.
    """
    decoder = model.get_decoder()
    missing = [name for name in ("layers", "embed_tokens", "norm") if not hasattr(decoder, name)]
    if decoder is model or missing:
        raise _not_of_family(model, source, missing or ["a decoder"])
    assert isinstance(decoder, nn.Module)
    return decoder


def find_sites(model: Any, source: str) -> dict[str, tuple[Site, ...]]:
    """Find every role of a model of this family by the names of its modules.

    Raises:
        BackboneError: If a layer lacks one of the projections or has it more than once.
    """
    decoder = find_decoder(model, source)
    paths = {id(module): path for path, module in model.named_modules()}
    hidden = _hidden_size(decoder)
    sites: dict[str, list[Site]] = {role: [] for role in ROLES}

    def add(role: str, layer: int | None, module: nn.Module, inputs: int, outputs: int) -> None:
        sites[role].append(Site(role, layer, paths[id(module)], module, inputs, outputs))

    add("embedding", None, decoder.embed_tokens, 0, hidden)  # type: ignore[arg-type]
    for layer, block in enumerate(decoder.layers):  # type: ignore[arg-type]
        add("block", layer, block, 0, hidden)
        projections = _projections(model, block, layer, source)
        for role, module in projections.items():
            add(role, layer, module, module.in_features, module.out_features)
        add("attention", layer, _parent(block, projections["query"]), hidden, hidden)
        for name, child in block.named_children():
            if name.endswith("norm"):
                add("norm", layer, child, 0, hidden)
    add("norm", None, decoder.norm, 0, hidden)  # type: ignore[arg-type]
    if hasattr(decoder, "rotary_emb"):
        add("rotary", None, decoder.rotary_emb, 0, 0)  # type: ignore[arg-type]
    return {role: tuple(found) for role, found in sites.items()}


def measure_shape(model: Any, source: str) -> BackboneShape:
    """Read all sizes from the modules of a model (which may live on the meta device).

    Raises:
        BackboneError: If the model is not of this family.
    """
    sites = find_sites(model, source)
    layers = len(sites["block"])
    widths: list[dict[str, Width]] = [{} for _ in range(layers)]
    for role in LINEAR_ROLES:
        for site in sites[role]:
            has_bias = getattr(site.module, "bias", None) is not None
            widths[site.layer or 0][role] = Width(site.inputs, site.outputs, has_bias)
    embedding: Any = sites["embedding"][0].module
    config = model.config.get_text_config(decoder=True)
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
        max_positions=position_limit(
            getattr(config, "max_position_embeddings", None),
            getattr(config, "rope_parameters", None),
        ),
    )


def _projections(model: Any, block: nn.Module, layer: int, source: str) -> dict[str, nn.Linear]:
    """Return role -> linear module of one layer."""
    found: dict[str, nn.Linear] = {}
    missing = []
    for role, name in MODULE_NAMES.items():
        matches = [
            module
            for path, module in block.named_modules()
            if path.rpartition(".")[2] == name and isinstance(module, nn.Linear)
        ]
        if len(matches) == 1:
            found[role] = matches[0]
        else:
            missing.append(name)
    if missing:
        names = [f"{', '.join(missing)} (exactly one each in layer {layer})"]
        raise _not_of_family(model, source, names)
    return found


def _parent(block: nn.Module, child: nn.Module) -> nn.Module:
    """Return the module within a layer that a projection belongs to."""
    path = next(path for path, module in block.named_modules() if module is child)
    return block.get_submodule(path.rpartition(".")[0])


def _hidden_size(decoder: nn.Module) -> int:
    weight: Any = decoder.embed_tokens.weight  # type: ignore[union-attr]
    return int(weight.shape[1])


def _not_of_family(model: Any, source: str, missing: list[str]) -> BackboneError:
    return BackboneError(
        f"backbone {source} must have the modules of the Llama family, got "
        f"{type(model).__name__}, which lacks {', '.join(missing)}: choose a backbone whose "
        "layers carry Llama's names."
    )
