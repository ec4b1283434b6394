"""Backbone: a pretrained model that methods address by role, never by module name.

Read this first, then `method.py`, `context.py` and `task.py`. A family of architectures (one file in
`backbones/families/`) maps each role to its modules; a method asks for roles and so works on every family.
Configuration objects here are cheap: nothing in this module imports torch at run time.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pedro_bench.errors import InjectionError, near_match

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pedro_bench.protocols.batch import Batch

LINEAR_ROLES = ("query", "key", "value", "attn_out", "ffn_gate", "ffn_up", "ffn_down")
"""Roles that are linear projections, in the order they act within a layer."""

GATE = "ffn_gate"
"""The one projection that a family may lack."""

ROLES = (*LINEAR_ROLES, "block", "attention", "embedding", "norm", "positions")
"""All roles. `block` is a whole layer, `attention` its attention module with the projections, `norm` the
normalisations of the residual stream (one and more a layer, and the one outside the layers, whose layer is
None), `positions` the module that turns positions into embeddings. A family may lack `ffn_gate` and
`positions`; a method that names several projections then adapts the others."""

KINDS = ("decoder", "encoder", "encoder_decoder")
"""A decoder writes its answer behind the prompt; an encoder reads a whole text and labels it with a head; an
encoder-decoder reads the prompt in one stack of layers and writes the answer in another."""

POSITIONS = ("rotary", "learned", "bias")
"""How a family knows where a token stands: rotary embeddings of queries and keys in every layer, learned
embeddings added to the input, or a bias of the attention scores (ALiBi, relative positions)."""


DEQUANTISED = "dequantised"
"""Attribute of a quantised projection: a function that returns the weights (out, in) it computes with."""


@dataclass(frozen=True)
class Width:
    """Sizes of one linear projection.

    Attributes:
        inputs: In-features.
        outputs: Out-features.
        bias: Whether it has a bias.
    """

    inputs: int
    outputs: int
    bias: bool = False


@dataclass(frozen=True)
class Columns:
    """Which columns of a fused projection's output are one role.

    The output consists of `groups` equal parts side by side; of each, `width` columns from `start` on are
    the role's. One group is a plain slice; one for each head is how GPT-NeoX lays out query, key and value.

    Attributes:
        start: First column within a group, from 0.
        width: Columns in each group, at least 1.
        groups: Groups, at least 1.
    """

    start: int
    width: int
    groups: int = 1

    @property
    def outputs(self) -> int:
        """Out-features of the role."""
        return self.groups * self.width

    def take(self, whole: "Tensor", dim: int = -1) -> "Tensor":
        """Return the role's columns, (..., groups * width); of one group a view."""
        if self.groups == 1:
            return whole.narrow(dim, self.start, self.width)
        return self.view(whole, dim).flatten(dim - 1, dim)

    def put(self, whole: "Tensor", part: "Tensor", dim: int = -1) -> None:
        """Write the role's columns (..., groups * width) into the whole output, in place.

        `part` may be what `take` gave of it, changed in place.
        """
        if self.groups == 1:  # a copy onto itself is allowed where all strides are equal
            self.take(whole, dim).copy_(part)
            return
        self.view(whole, dim).copy_(part.unflatten(dim, (self.groups, self.width)))

    def view(self, whole: "Tensor", dim: int = -1) -> "Tensor":
        """Return the role's columns (..., groups, width) in the memory of the whole output.

        Args:
            whole: The fused projection's output, or its weights.
            dim: The dimension of the out-features, counted from the end (negative).
        """
        parts: Tensor = whole.unflatten(dim, (self.groups, -1))  # type: ignore[no-untyped-call]
        return parts.narrow(dim, self.start, self.width)


@dataclass(frozen=True, kw_only=True)
class BackboneShape:
    """All sizes that a parameter count needs, read from the configuration alone (no weights).

    Attributes:
        family: Name of the architecture family, for messages.
        num_layers: Decoder layers (L).
        hidden_size: Width of the residual stream (d).
        ffn_dim: Inner width of the feed-forward network (f).
        vocab_size: Rows of the embedding.
        num_parameters: All parameters of the backbone, tied ones once.
        num_norms: Normalisations of the residual stream, the last one included.
        widths: For each layer, role -> `Width`, for the linear roles the family has.
        layer_parameters: For each layer, all its parameters, normalisations and biases included.
        max_positions: Longest sequence in tokens that the model was made for, virtual tokens
            included; None if its configuration names no limit.
    """

    family: str
    num_layers: int
    hidden_size: int
    ffn_dim: int
    vocab_size: int
    num_parameters: int
    num_norms: int
    widths: tuple[Mapping[str, Width], ...]
    layer_parameters: tuple[int, ...]
    max_positions: int | None = None

    def each(self, roles: Sequence[str]) -> Iterator[tuple[int, str, Width]]:
        """Yield (layer, role, width) for every layer and each asked role, layer by layer.

        A feed-forward network without a gate has none to adapt: `ffn_gate` is then left out of several roles.

        Raises:
            InjectionError: If the family lacks one of the roles, or the only one is a gate it lacks.
        """
        for layer, widths in enumerate(self.widths):
            for role in present(roles, widths):
                if role not in widths:
                    raise InjectionError(
                        f"role must be one that the family {self.family!r} has, got {role!r}."
                        + near_match(role, widths)
                    )
                yield layer, role, widths[role]


def present(roles: Sequence[str], widths: Collection[str]) -> list[str]:
    """Return the roles without `ffn_gate` where the layers have no gate and other roles remain."""
    has_gate = GATE in widths or not set(roles) - {GATE}
    return [role for role in roles if role != GATE or has_gate]


@dataclass(frozen=True)
class Site:
    """One place in a loaded backbone where a role lives.

    Attributes:
        role: The role, as in `ROLES`.
        layer: Decoder layer counted from 0, or None for roles outside the layers.
        path: The module's path within the backbone, for messages.
        module: The module itself.
        inputs: In-features (0 for roles that are not linear projections).
        outputs: Out-features of this role (of the slice, where projections are fused).
        columns: For a fused projection, the columns of the module's output that are this role; else None.
        is_transposed: Whether the module keeps its weights as (in, out), as GPT-2's Conv1D does.
    """

    role: str
    layer: int | None
    path: str
    module: "nn.Module"
    inputs: int = 0
    outputs: int = 0
    columns: Columns | None = None
    is_transposed: bool = False

    @property
    def is_quantised(self) -> bool:
        """Whether the module holds its weights in few bits."""
        return hasattr(self.module, DEQUANTISED)

    def weight(self) -> "Tensor":
        """Return the role's weights: (groups, width, in), or (1, out, in).

        They lie in the module's own memory; of a quantised module (`is_quantised`) they are a copy.
        """
        read = getattr(self.module, DEQUANTISED, None)
        weight: Tensor = self.module.weight if read is None else read()  # type: ignore[assignment]
        weight_OI = weight.detach().mT if self.is_transposed else weight.detach()
        return (self.columns or Columns(0, self.outputs)).view(weight_OI, -2)


class LoadedBackbone(ABC):
    """A backbone with its weights in memory; frozen, in evaluation mode, untouched by any method.

    Attributes:
        name: Name used in records and tables (the YAML's name).
        model: The Hugging Face model.
        tokenizer: Its tokenizer.
        shape: Sizes, as known from the configuration.
        revision: What exactly was loaded (commit of the Hub repository, or a hash of a local folder).
    """

    name: str
    model: Any
    tokenizer: Any
    shape: BackboneShape
    revision: str

    @property
    @abstractmethod
    def decoder(self) -> "nn.Module":
        """The stack of layers with their embedding, without a head."""

    @property
    @abstractmethod
    def stacks(self) -> "tuple[nn.Module, ...]":
        """Stacks of layers: the one that reads the prompt; of an encoder-decoder also the one that writes."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the model reads and writes, one of KINDS."""

    @property
    @abstractmethod
    def positions(self) -> str:
        """How the model knows where a token stands, one of POSITIONS."""

    @abstractmethod
    def prompt(self, ids_BT: "Tensor", mask_BT: "Tensor") -> "tuple[Tensor, Tensor]":
        """Return prompts (ids and mask, both (B, T)) as the first stack reads them."""

    @abstractmethod
    def states(self, batch: "Batch") -> "Tensor":
        """Return the last hidden states (B, T, D) of whole examples; position t - 1 predicts label t."""

    @abstractmethod
    def placed(self, tokens_BPD: "Tensor", positions_BP: "Tensor") -> "Tensor":
        """Return embeddings (B, P, D) of virtual tokens for the first layer; positions count from 0."""

    @abstractmethod
    def sites(self, role: str) -> tuple[Site, ...]:
        """Return every place of a role, in layer order; none where the family lacks the role.

        Raises:
            InjectionError: If the role matches nothing in this backbone.
        """

    @abstractmethod
    def head(self, hidden_ND: "Tensor") -> "Tensor":
        """Turn hidden states (N, D) into float32 logits (N, V), soft-capping included where there is."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256 over every weight's bytes: equal before and after a method was attached."""

    def content(self) -> str:
        """Return what the files hold, wherever they lie: `revision`, or of a Hub id a hash of its files."""
        return self.revision

    @property
    def device(self) -> "torch.device":
        """Device of the weights."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Backbone(ABC):
    """Configuration of a backbone: what `conf/backbone/*.yaml` builds; it checks itself.

    Attributes:
        name: Name in records and tables.
        label: Name as printed in tables.
    """

    name: str
    label: str

    @abstractmethod
    def shape(self) -> BackboneShape:
        """Read the sizes from the configuration alone, without weights.

        Raises:
            BackboneError: If the configuration cannot be found; one sentence with the remedy.
        """

    @abstractmethod
    def family_version(self) -> tuple[str, int]:
        """Return the family of architectures and the version of its code, which enter the key of a run.

        Raises:
            BackboneError: If the configuration cannot be found; one sentence with the remedy.
        """

    @abstractmethod
    def identity(self) -> str:
        """Return what decides the weights (path and revision, or a hash of local files), torch-free.

        It enters the key of a run, so two different sets of weights never share a key.
        """

    def check_name(self) -> None:
        """Require a name under which records can stand; called before anything is recorded.

        Raises:
            ConfigError: If the name is that of other weights.
        """

    @abstractmethod
    def load_tokenizer(self) -> Any:
        """Load the tokenizer alone, without a byte of the weights.

        Raises:
            BackboneError: As `load`.
        """

    @abstractmethod
    def load(self, *, device: str) -> LoadedBackbone:
        """Load weights and tokenizer, frozen and in evaluation mode.

        Args:
            device: `cpu`, `cuda`, `cuda:0` ….

        Raises:
            BackboneError: If the weights are missing or gated, or no family takes them; with the remedy.
        """
