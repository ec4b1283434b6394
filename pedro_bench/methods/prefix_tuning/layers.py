"""Trainable keys and values of virtual tokens, for every layer at once; for one adapter and for many tenants.

    plain            [K_1, V_1, …, K_L, V_L] = E                          E (P, sum of widths)
    reparameterised  [K_1, V_1, …, K_L, V_L] = tanh(E W_1 + b_1) W_2 + b_2    E (P, e), W_1 (e, m)

Legend: B examples, P virtual tokens, O width of one layer's keys or values.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block

_STD = 0.02


class KeyValuePrefix(nn.Module):
    """The prefix of all layers.

    The plain prefix starts as N(0, 0.02^2). The reparameterised one starts as peft's: E from N(0, 1),
    linear maps as PyTorch makes them.

    Args:
        num_virtual_tokens: P, at least 1.
        widths: O of each layer's keys and values: keys of the first layer, its values, and so on.
        encoder_hidden_size: m, or None for the plain prefix.
        dropout: Probability of dropping an entry of the prefix in training, in [0, 1).

    Attributes:
        embedding: E.
        transform: The two-layer network, or an identity.
    """

    def __init__(
        self,
        num_virtual_tokens: int,
        widths: Sequence[int],
        *,
        encoder_hidden_size: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.dropout = dropout
        self.transform: nn.Module = nn.Identity()
        if encoder_hidden_size is None:
            start = torch.empty(num_virtual_tokens, sum(widths)).normal_(0.0, _STD)
        else:
            start = torch.empty(num_virtual_tokens, widths[0]).normal_()
            self.transform = nn.Sequential(
                nn.Linear(widths[0], encoder_hidden_size),
                nn.Tanh(),
                nn.Linear(encoder_hidden_size, sum(widths)),
            )
        self.embedding = nn.Parameter(start)

    def forward(self, num_examples: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return keys and values (B, P, O), in the order of the widths.

        Dropout differs between examples; without it all rows are one and the same memory.
        """
        with torch.autocast(self.embedding.device.type, enabled=False):
            prefix: Tensor = self.transform(self.embedding)
            if self.training and self.dropout:
                prefix = F.dropout(prefix.expand(num_examples, -1, -1), self.dropout)
            prefix = prefix.to(dtype).expand(num_examples, -1, -1)
        parts: tuple[Tensor, ...] = prefix.split(self.widths, dim=2)
        return parts


class TenantPrefix(TenantBlock):
    """`KeyValuePrefix` for many tenants; the network's prefix is made when a tenant is added.

    Used while prompts pass, and kept by the method itself.
    """

    training_only = ("dropout",)

    def __init__(self, template: KeyValuePrefix) -> None:
        super().__init__(template)
        self.widths = template.widths

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep the prefix (P, sum of widths) alone."""
        prefix = tensors["embedding"]
        if "transform.0.weight" in tensors:
            inner = F.linear(prefix, tensors["transform.0.weight"], tensors["transform.0.bias"])
            prefix = F.linear(
                inner.tanh(), tensors["transform.2.weight"], tensors["transform.2.bias"]
            )
        return {"prefix": prefix}

    def forward(self, num_examples: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return each tenant's keys and values (B, P, O), in the order of the widths."""
        prefix = self.gather(self.device)["prefix"]
        assert len(prefix) == num_examples
        parts: tuple[Tensor, ...] = prefix.to(dtype).split(self.widths, dim=2)
        return parts


tenant_block.register(KeyValuePrefix, TenantPrefix)
