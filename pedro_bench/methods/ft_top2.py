"""Partial fine-tuning: only the last decoder layers are trained.

The RED paper's baseline FT_top2 (Wu et al. 2024, arXiv:2402.15179, section 4.1), which "adapts just
the last two layers" as Li and Liang 2021 (arXiv:2101.00190) did with GPT-2; the idea is Lee et al.
2019 (arXiv:1911.03090). No new parameters; all weights of those layers are trained, attention,
feed-forward network and normalisations.

Deviations: neither embedding, language-modelling head nor final normalisation is trained. The papers
do not say; their 25.2M on GPT-2 medium are two layers (25,192,448), which leaves no room for a head.
"""

from dataclasses import dataclass

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount


@dataclass(frozen=True, kw_only=True)
class TopLayers(Method):
    """Train the last layers of the backbone, which must be float32.

    Attributes:
        num_layers: Layers trained, counted from the last one; at least 1 and at most all.
    """

    num_layers: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.num_layers", self.num_layers)

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum all parameters of the last layers."""
        total = sum(shape.layer_parameters[self._first(shape.num_layers) :])
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        """Make the parameters of the last layers trainable."""
        blocks = injection.sites(("block",))[self._first(injection.shape.num_layers) :]
        prefixes = tuple(f"{block.path}." for block in blocks)
        injection.train_backbone(lambda path: path.startswith(prefixes))

    def _first(self, num_layers: int) -> int:
        """Return the number of the first layer that is trained, from 0."""
        if self.num_layers > num_layers:
            raise ConfigError(
                f"method.num_layers must be at most the backbone's {num_layers} layers, got "
                f"{self.num_layers}."
            )
        return num_layers - self.num_layers
