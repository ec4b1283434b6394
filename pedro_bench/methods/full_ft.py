"""Full fine-tuning: every weight of the backbone is trained.

The paper's reference row. No new parameters; what is saved is the whole set of weights. Removing the
method gives the backbone its original bits back.

Deviations: none.
"""

from dataclasses import dataclass

from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Train all weights of the backbone, which must be float32."""

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Count every parameter of the backbone, tied ones once."""
        return ParameterCount(matrices=shape.num_parameters, trainable=shape.num_parameters)

    def attach(self, injection: Injection) -> None:
        """Make all backbone parameters trainable."""
        injection.train_backbone(lambda path: True)
