"""A family of architectures: where its models keep what methods ask for by role.

Methods and the trainer ask for roles and never for a model's name; what is particular to an architecture
stands in its family, one module in `families/`. A family is chosen by the `model_type` of the
configuration. The Llama family takes every other decoder whose modules carry Llama's names, and refuses
the rest by name.

Modules of families import without torch, so that a run's key can name the family and its version.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones import families as package
from pedro_bench.backbones.shapes import position_limit
from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import BackboneShape, Columns
from pedro_bench.protocols.batch import positions_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pedro_bench.protocols.batch import Batch


SAMPLE: Mapping[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Sizes that the tiny models of families share, in the words of most configurations."""


@dataclass(frozen=True)
class Projection:
    """Where one role of a layer is computed.

    Attributes:
        module: The linear module: its output has the role's columns.
        columns: Which of its output's columns are the role's; None: all.
    """

    module: "nn.Module"
    columns: Columns | None = None


class Family(ABC):
    """What is particular to one family of architectures.

    Attributes:
        name: Name of the family, in keys and messages.
        version: Raised whenever the family moves numbers, such as a role or a mask; enters the key of a run.
        model_types: `model_type` of the configurations it takes, as Transformers writes it; empty: every
            decoder that no other family takes, if its modules have the names that the family expects.
        embedding: Path of the token embedding within the decoder.
        layers: Path of the list of layers within the decoder.
        last_norm: Path of the normalisation after the layers, within the decoder.
        position_module: Path of the module that turns positions into embeddings, within the decoder.
        kind: One of `protocols.backbone.KINDS`.
        samples: Name -> configuration of a tiny model, one for each layout of the family, for probes.
        unused: Patterns of tensors in checkpoints that belong to heads which are not used.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    model_types: ClassVar[tuple[str, ...]] = ()
    embedding: ClassVar[str] = "embed_tokens"
    layers: ClassVar[str] = "layers"
    last_norm: ClassVar[str] = "norm"
    position_module: ClassVar[str] = "rotary_emb"
    kind: ClassVar[str] = "decoder"
    samples: ClassVar[Mapping[str, Mapping[str, Any]]]
    unused: ClassVar[tuple[str, ...]] = ()

    def model_class(self) -> tuple[Any, dict[str, Any]]:
        """Return Transformers' class that builds the model, and further arguments for it."""
        import transformers

        return transformers.AutoModelForCausalLM, {}

    def stack(self, model: Any) -> "nn.Module":
        """Return the part of a model that holds embedding and layers."""
        return model.get_decoder()  # type: ignore[no-any-return]

    @abstractmethod
    def projections(self, block: "nn.Module", config: Any) -> Mapping[str, Projection]:
        """Return role -> place of every linear role that a layer has, in the order of LINEAR_ROLES.

        Args:
            block: One layer.
            config: The model's configuration (Transformers').

        Raises:
            MissingModulesError: If the layer lacks one.
        """

    @abstractmethod
    def norms(self, block: "nn.Module") -> "list[nn.Module]":
        """Return the normalisations of the residual stream in one layer, in their order there."""

    def positions(self, config: Any) -> str:
        """Return how a model knows where a token stands, one of `protocols.backbone.POSITIONS`."""
        return "rotary"

    def max_positions(self, config: Any) -> int | None:
        """Return the longest sequence a model was made for; None: its configuration names no limit."""
        return position_limit(
            getattr(config, "max_position_embeddings", None),
            getattr(config, "rope_parameters", None),
        )

    def stacks(self, model: Any) -> "tuple[nn.Module, ...]":
        """Return all stacks of layers; an encoder-decoder has a second, which writes the answer."""
        return (self.stack(model),)

    def prompt(
        self, ids_BT: "Tensor", mask_BT: "Tensor", tokenizer: Any
    ) -> "tuple[Tensor, Tensor]":
        """Return prompts (ids and mask, both (B, T)) as the first stack reads them."""
        return ids_BT, mask_BT

    def states(self, model: Any, batch: "Batch", tokenizer: Any) -> "Tensor":
        """Return the last hidden states (B, T, D) of whole examples; position t - 1 predicts label t."""
        inputs = self.inputs(batch, model.config.get_text_config(decoder=True), tokenizer)
        hidden_BTD: Tensor = self.stack(model)(**inputs).last_hidden_state
        return hidden_BTD

    def inputs(self, batch: "Batch", config: Any, tokenizer: Any) -> dict[str, Any]:
        """Return the arguments with which the stack reads a batch of whole examples, without a cache.

        Causal attention never looks at padding on the right, so the mask can be left out there, which
        lets the attention kernel take its faster causal path.
        """
        mask = None if batch.is_right_padded else batch.attention_mask_BT.long()
        position_ids = None if mask is None else positions_of(mask)
        return {
            "input_ids": batch.input_ids_BT,
            "attention_mask": mask,
            "position_ids": position_ids,
            "use_cache": False,
        }

    def placed(self, model: Any, tokens_BPD: "Tensor", positions_BP: "Tensor") -> "Tensor":
        """Return embeddings of virtual tokens as the first layer gets them, of learned positions.

        Args:
            model: The model.
            tokens_BPD: Their embeddings (B, P, D).
            positions_BP: Their positions in the sequence, counted from 0 (B or 1, P).
        """
        from torch.nn import functional

        table: Any = child(self.stack(model), self.position_module)
        return tokens_BPD + functional.embedding(positions_BP, table.weight)

    def read_shape(self, mapping: Mapping[str, Any], source: str) -> BackboneShape | None:
        """Return all sizes from a configuration mapping alone, without torch; None: they are measured.

        Args:
            mapping: The content of a `config.json`.
            source: Where it comes from, for messages.

        Raises:
            BackboneError: If a size in it is impossible.
        """
        return None

    def check(self, config: Any, attn_implementation: str, source: str) -> None:
        """Refuse settings under which a model of this family would compute something else.

        Args:
            config: The model's configuration (Transformers').
            attn_implementation: As in `backbone.attn_implementation`.
            source: Name of the backbone, for messages.

        Raises:
            BackboneError: If they do; with the remedy.
        """

    def logits(self, logits_NV: "Tensor", config: Any) -> "Tensor":
        """Return what the model makes of the head's float32 product (N, V), such as a soft cap."""
        return logits_NV


class MissingModulesError(Exception):
    """A model lacks modules of its family.

    Args:
        names: What is missing.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@cache
def families() -> Mapping[str, Family]:
    """Return all families by name, found by listing the folder `families`."""
    found: dict[str, Family] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        for value in vars(module).values():
            is_own = isinstance(value, type) and value.__module__ == module.__name__
            if is_own and issubclass(value, Family):
                family = value()
                found[family.name] = family
    return found


def family_of(model_type: str) -> Family:
    """Return the family of a `model_type`: the one that names it, or else the open one."""
    named = [one for one in families().values() if model_type in one.model_types]
    if named:
        return named[0]
    return next(one for one in families().values() if not one.model_types)


def not_of_family(model: Any, family: Family, source: str, missing: list[str]) -> BackboneError:
    """Say that a model is of no family that works, what it lacks, and which families there are."""
    known = sorted({kind for one in families().values() for kind in one.model_types})
    others = f"one of {', '.join(known)}, or " if known else ""
    return BackboneError(
        f"backbone {source} must have the modules of the {family.name} family, got "
        f"{type(model).__name__}, which lacks {', '.join(missing)}: choose a backbone whose "
        f"model_type is {others}whose layers carry Llama's names."
    )


def child(parent: "nn.Module", path: str) -> "nn.Module | None":
    """Return a module by its path within another, or None."""
    module: Any = parent
    for name in path.split("."):
        module = getattr(module, name, None)
    return module  # type: ignore[no-any-return]  # what lies at a path is a module


def fused(
    module: "nn.Module", parts: Mapping[str, tuple[int, int]], groups: int = 1
) -> dict[str, Projection]:
    """Return the places of roles that one fused module computes.

    Args:
        module: The linear module.
        parts: Role -> (first column, number of columns) within each group.
        groups: Equal parts of the output, side by side, that each hold all roles.
    """
    return {
        role: Projection(module, Columns(start, width, groups))
        for role, (start, width) in parts.items()
    }
