"""Method: a parameter-efficient fine-tuning technique, as one frozen dataclass.

`conf/method/<name>.yaml` builds it, `pedro_bench/methods/<name>.py` holds it. A method says how many
parameters it trains (`count`, a closed form) and puts them into a backbone (`attach`); everything else
is a hook with a do-nothing default, so the trainer never asks which method it trains.

A method's module must import without torch, so that a wrong setting is answered at once: building
blocks with parameters live in `pedro_bench.nn` and are imported inside `attach`. (A module that does
import torch on top still works; its wrong settings are merely answered later.)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pedro_bench import checks
from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.backbone import BackboneShape, Site

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Parameter

BILEVEL_CHOICES = ("none", "validation", "train_holdout", "train_half")
"""Where the architecture parameters' batches come from; `none` trains all parameters on the train split."""


@dataclass(frozen=True)
class ParameterCount:
    """What a method trains.

    Attributes:
        matrices: Entries of weight matrices and free vectors that the papers count.
        trainable: Everything the optimiser updates, biases and coefficients included.
    """

    matrices: int
    trainable: int


class Injection(Protocol):
    """What a method may do to a backbone while it attaches; all of it can be undone exactly."""

    @property
    def shape(self) -> BackboneShape:
        """Sizes of the backbone."""

    @property
    def positions(self) -> str:
        """How the backbone knows where a token stands, one of `protocols.backbone.POSITIONS`."""

    @property
    def kind(self) -> str:
        """What the backbone reads and writes, one of `protocols.backbone.KINDS`."""

    def sites(self, roles: Sequence[str]) -> "list[Site]":
        """Every place of the roles, layer by layer; a role that matches nothing raises InjectionError.

        Where the backbone has no gate, `ffn_gate` is left out of several roles.
        """

    def add(self, name: str, module: "nn.Module") -> Any:
        """Register a module under a path such as `layers.3.query`, a part of the adapter; return it.

        Its parameters are trained. Its buffers are frozen, and saved and loaded with the parameters.
        It is put on the backbone's device; its parameters stay float32 whatever the backbone's dtype.
        Where its attribute `path` is the empty string, it is set to the path.
        """

    def on_input(self, site: Site, change: "Callable[[Tensor], Tensor | None]") -> None:
        """Call `change(input)` before the site's module; what it returns (unless None) replaces the input."""

    def on_prompt(self, site: Site, see: "Callable[[Tensor], None]") -> None:
        """Call `see(hidden states)` with what a layer (`block`) or its attention reads of the prompt, once.

        In a layer that writes an encoder-decoder's answer it is what the encoder made of the prompt. The
        context's prompt mask says which positions are the prompt's.
        """

    def on_arguments(
        self, site: Site, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Call `change(arguments by name)` before the site's module; what it returns replaces them."""

    def placed(self, tokens_BPD: "Tensor", positions_BP: "Tensor") -> "Tensor":
        """Return embeddings (B, P, D) of virtual tokens for the first layer; positions count from 0."""

    def on_positions(self, change: "Callable[[Tensor], Tensor]") -> None:
        """Replace the positions (B or 1, T) by `change(positions)` before they become embeddings."""

    def on_output(self, site: Site, change: "Callable[[Tensor, Tensor], Tensor]") -> None:
        """Replace the site's output (its columns, where fused) by `change(input, output)`, a tensor alike."""

    def train_backbone(self, selects: Callable[[str], bool]) -> None:
        """Let the backbone's own parameters whose path `selects` be trained; undoing restores their bits."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Configuration and behaviour of one technique; checks itself on construction.

    Attributes:
        name: The YAML's name; stands in records and file names.
        label: Name as printed in tables (LaTeX).
        lr: Learning rate of this method under any trainer, or None for the trainer's. Above 0.
        bilevel: Where batches for the `architecture` parameter group come from; see BILEVEL_CHOICES.
        architecture_lr: Learning rate of the `architecture` group under bilevel training, or None for
            the trainer's `architecture_lr` (and where that is null too, the weights' rate). Above 0.
        tuned: One more setting that `cli.tune` tries along with the rate, and its values, such as
            `{alpha: [8, 16]}`; None where the rate alone is tried. It moves no number.
    """

    name: str
    label: str
    lr: float | None = None
    bilevel: str = "none"
    architecture_lr: float | None = None
    tuned: Mapping[str, Sequence[Any]] | None = None

    version: ClassVar[int] = 1
    """Raised whenever the method's numbers move (blocks, initialisation, loss); enters the key of a run."""
    starts_at_backbone: ClassVar[bool] = True
    """Whether the adapted model equals the backbone exactly before the first step."""
    is_bilevel: ClassVar[bool] = False
    """Whether the method has an `architecture` parameter group, so that `bilevel` may be set."""
    can_checkpoint_gradients: ClassVar[bool] = True
    """Whether gradient checkpointing gives exact gradients with this method."""
    is_affine: ClassVar[bool] = False
    """Whether all it does is to change single projections by affine maps that are the same for every prompt,
    so that weights and biases can hold it."""
    size_fields: ClassVar[tuple[str, ...]] = ("r", "bottleneck_size", "num_virtual_tokens")
    """Names of fields that set how much is trained; the first that the method has is its size, which
    `method.budget` chooses. Empty where no single whole number does."""
    counts_last_phase: ClassVar[bool] = False
    """Whether `count` is of the network retrained after a search, and not of what the search trains."""

    def __post_init__(self) -> None:
        checks.text("method.name", self.name)
        checks.number("method.lr", self.lr, above=0, optional=True)
        checks.choice("method.bilevel", self.bilevel, BILEVEL_CHOICES)
        if self.bilevel != "none" and not self.is_bilevel:
            raise ConfigError(
                f"method.bilevel must be none for {self.name}, got {self.bilevel!r}: it has no "
                "architecture parameters to train apart."
            )
        checks.number("method.architecture_lr", self.architecture_lr, above=0, optional=True)
        if self.architecture_lr is not None and self.bilevel == "none":
            raise ConfigError(
                "method.architecture_lr must be null with method.bilevel=none, got "
                f"{self.architecture_lr!r}: all parameters then have the learning rate of the weights."
            )
        if self.tuned is not None:
            self._check_tuned(self.tuned)

    def _check_tuned(self, tuned: Any) -> None:
        own = [
            part.name for part in fields(self) if part.name not in ("name", "label", "lr", "tuned")
        ]
        values = list(tuned.values()) if isinstance(tuned, Mapping) else []
        if len(values) != 1 or not isinstance(values[0], list | tuple) or not values[0]:
            raise ConfigError(
                f"method.tuned must name one setting and a list of its values, got {tuned!r}."
            )
        [name] = tuned
        if name not in own:
            raise ConfigError(
                f"method.tuned must name a setting of {self.name}, got {name!r}.{near_match(name, own)}"
            )

    @property
    def num_positions(self) -> int:
        """Positions of the sequence that the method takes for itself (virtual tokens).

        Prompt and answer have so many tokens less of `trainer.max_length`.
        """
        return 0

    @property
    def is_searching(self) -> bool:
        """Whether this phase searches for the structure that is trained after it, and that `count` is of."""
        return self.counts_last_phase and getattr(self, "structure", None) is None

    @abstractmethod
    def count(self, shape: BackboneShape) -> ParameterCount:
        """Count the parameters from the backbone's sizes alone, as a closed form.

        Of a method that searches for a structure and then retrains it (`counts_last_phase`), this is
        the retrained network: exact once the structure is found, before that the most it can have.
        """

    @abstractmethod
    def attach(self, injection: Injection) -> None:
        """Create the parameters and wire them into the backbone."""

    def parameter_groups(self, adapter: "nn.Module") -> "Mapping[str, list[Parameter]]":
        """Split the trainable parameters into `weights` and, for bilevel methods, `architecture`."""
        return {"weights": [p for p in adapter.parameters() if p.requires_grad]}

    def extra_loss(self, adapter: "nn.Module") -> "Tensor | None":
        """Return a term to add to the training loss (a scalar), or None."""
        return None

    def after_step(self, adapter: "nn.Module", step: int, num_steps: int) -> None:
        """Act after optimiser step number `step` (from 1) of `num_steps`; gradients are still there."""

    def can_be_best(self, step: int, num_steps: int) -> bool:
        """Whether the adapter after `step` of `num_steps` may be kept as the best one.

        Until it may, early stopping does not count either; the last step's always may.
        """
        return True

    def runtime_state(self, adapter: "nn.Module") -> "dict[str, Tensor]":
        """Return what exact resume needs beside parameters and buffers (moving averages, masks)."""
        return {}

    def load_runtime_state(self, adapter: "nn.Module", state: "Mapping[str, Tensor]") -> None:
        """Take back what `runtime_state` gave."""

    def following(self, adapter: "nn.Module") -> "Method | None":
        """Return the method to train next from scratch (after a search phase), or None when done."""
        return None
