"""Trainable keys and values of virtual tokens, for every layer at once.

    plain            [K_1, V_1, …, K_L, V_L] = E                          E (P, sum of widths)
    reparameterised  [K_1, V_1, …, K_L, V_L] = tanh(E W_1 + b_1) W_2 + b_2    E (P, e), W_1 (e, m)

Legend: B examples, P virtual tokens, O width of one layer's keys or values.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
