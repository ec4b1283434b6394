"""Building blocks for many tenants: each example of a batch is adapted by its own tenant's tensors.

A method whose blocks all have a form here serves many tenants and needs no code for it: what it put in
for one adapter (`vector()`, `update(x, base)`, `generator(hidden, context)`) is asked of the block's
tenant form instead, which answers with one row an example. A new block takes part by registering:

    @tenant_block.register
    def _(template: MyBlock) -> TenantBlock: ...

What a generation uses is gathered once, when its prompts pass, and kept with it in the context's state:
beams share it, decoding steps only multiply, and a tenant that is removed meanwhile changes nothing.

Legend: B examples, T tokens, D hidden, R rank or bottleneck, I in-features, O out-features.
"""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor, nn

from pedro_bench.errors import ContextError, InjectionError
from pedro_bench.nn.blocks import FreeVector, LowRankUpdate
from pedro_bench.nn.vector_generator import Rational, VectorGenerator, pool
from pedro_bench.protocols.context import PromptContext, current_context

Tensors = Mapping[str, Tensor]
"""Name within a block -> tensor."""

_TENANTS = "tenants"


class TenantContext(PromptContext):
    """A prompt context that knows whose each example is.

    Attributes:
        adapters: Block path -> tensors, for each distinct tenant of the batch; held as long as the
            generation lasts.
    """

    def __init__(
        self,
        prompt_mask_BT: Tensor,
        tenants_B: Tensor,
        adapters: Sequence[Mapping[str, Tensors]],
    ) -> None:
        super().__init__(prompt_mask_BT)
        self.adapters = tuple(adapters)
        self.state[_TENANTS] = tenants_B  # state follows the examples when they become beams


class TenantBlock(nn.Module):
    """What stands in a backbone in place of one adapter's block.

    Args:
        template: The block, as the method made it; its tensors are no tenant's.

    Attributes:
        path: Where the method put the block, such as `layers.3.query`.
        expected: Name -> shape of the tensors that a tenant brings for it.
        dtypes: Name -> dtype in which the method computes with them.
    """

    training_only: ClassVar[tuple[str, ...]] = ()
    """Names of the template's settings that this form has no use for, since they act in training alone:
    tenants may differ in a method's settings of these names."""

    def __init__(self, template: nn.Module) -> None:
        super().__init__()
        self.path = ""
        tensors = template.state_dict()
        self.expected = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.dtypes = {name: tensor.dtype for name, tensor in tensors.items()}

    def prepare(self, tensors: Tensors) -> dict[str, Tensor]:
        """Turn a tenant's trained tensors into those that are kept for it."""
        return dict(tensors)

    def gather(self, device: torch.device) -> dict[str, Tensor]:
        """Return the active batch's tensors, one row an example: (B, …) for each name."""
        context = _tenant_context()
        held = [adapter[self.path] for adapter in context.adapters]
        if len(held) == 1:  # one tenant's rows are one and the same memory
            rows = context.num_examples
            return {name: row.to(device).expand(rows, *row.shape) for name, row in held[0].items()}
        index_B = context.state[_TENANTS]
        return {
            name: torch.stack([one[name] for one in held]).to(device)[index_B] for name in held[0]
        }

    @property
    def device(self) -> torch.device:
        """Where the active batch is computed, for a block that is handed no tensor."""
        device: torch.device = _tenant_context().state[_TENANTS].device
        return device

    def kept(self, device: torch.device) -> Mapping[str, Tensor]:
        """Return `gather`'s rows, gathered once in a generation."""
        rows: Mapping[str, Tensor] = _tenant_context().kept(
            f"tenant/{self.path}", lambda: self.gather(device)
        )
        return rows


class TenantVector(TenantBlock):
    """`FreeVector` for many tenants; a factored vector is multiplied out when its tenant is added."""

    def prepare(self, tensors: Tensors) -> dict[str, Tensor]:
        """Keep the vector (O,) alone."""
        if "vector" in tensors:
            return {"vector": tensors["vector"]}
        return {"vector": tensors["inner"] @ tensors["projection"]}

    def forward(self) -> Tensor:
        """Return the vectors (B, 1, O) in float32."""
        return self.kept(self.device)["vector"].unsqueeze(1)


class TenantUpdate(TenantBlock):
    """`LowRankUpdate` for many tenants; without dropout, since nothing is trained here."""

    training_only: ClassVar[tuple[str, ...]] = ("dropout",)

    def __init__(self, template: LowRankUpdate) -> None:
        super().__init__(template)
        self.scaling = template.scaling

    def forward(self, x_BTI: Tensor, base_BTO: Tensor) -> Tensor:
        """Return `base` plus each tenant's update of `x`."""
        rows = self.kept(x_BTI.device)
        down_BRI, up_BOR = rows["lora_A"], rows["lora_B"]
        inner_BTR = x_BTI.to(down_BRI.dtype) @ down_BRI.mT
        update_BTO = (inner_BTR @ up_BOR.mT) * self.scaling
        return base_BTO + update_BTO.to(base_BTO.dtype)


class TenantGenerator(TenantBlock):
    """`VectorGenerator` for many tenants; used once, while prompts pass, and so not kept."""

    def __init__(self, template: VectorGenerator) -> None:
        super().__init__(template)
        self.widths = template.widths
        self.pooling = template.pooling
        self.activation = None if isinstance(template.activation, Rational) else template.activation

    def forward(self, hidden_BTD: Tensor, context: PromptContext) -> tuple[Tensor, ...]:
        """Return one float32 vector (B, width) for each width."""
        rows = self.gather(hidden_BTD.device)
        pooled_BD = pool(hidden_BTD, context, self.pooling)
        inner_BR = (pooled_BD.unsqueeze(1) @ rows["down"]).squeeze(1)
        if self.activation is None:
            inner_BR = rational(
                inner_BR, rows["activation.numerator"], rows["activation.denominator"]
            )
        else:
            inner_BR = self.activation(inner_BR)
        vectors = (inner_BR.unsqueeze(1) @ rows["up"]).squeeze(1) + rows["bias"]
        parts: tuple[Tensor, ...] = vectors.split(self.widths, dim=1)
        return parts


@singledispatch
def tenant_block(template: nn.Module) -> TenantBlock:
    """Return the tenant form of a building block.

    Args:
        template: The block, as a method made it.

    Raises:
        InjectionError: If it has none.
    """
    raise InjectionError(
        "every building block must have a form for many tenants, got none for "
        f"{type(template).__name__}: register one with pedro_bench.nn.tenant_blocks.tenant_block."
    )


tenant_block.register(FreeVector, TenantVector)
tenant_block.register(LowRankUpdate, TenantUpdate)
tenant_block.register(VectorGenerator, TenantGenerator)


def _tenant_context() -> TenantContext:
    context = current_context()
    if not isinstance(context, TenantContext):
        raise ContextError(
            "a backbone that serves tenants must be called within its bank's context, got one that "
            "knows no tenants: use AdapterBank.generate or AdapterBank.context."
        )
    return context


def rational(x_BR: Tensor, numerator_BJ: Tensor, denominator_BJ: Tensor) -> Tensor:
    """Return `nn.vector_generator.Rational` of `x_BR` with coefficients of each example's own."""
    above = _horner(numerator_BJ, x_BR)
    below = 1 + (x_BR * _horner(denominator_BJ, x_BR)).abs()
    return above / below


def _horner(coefficients_BJ: Tensor, x_BR: Tensor) -> Tensor:
    first, *others = coefficients_BJ.unsqueeze(1).flip(-1).unbind(-1)
    value = first.expand_as(x_BR)
    for coefficient_B1 in others:
        value = value * x_BR + coefficient_B1
    return value
