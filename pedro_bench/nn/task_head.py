"""The trained head of an encoder: a label's score, or a number, from the first token's hidden state.

    outputs = W_o dropout(tanh(W_d dropout(h_1) + b_d)) + b_o

Transformers' head of RoBERTa, here for every encoder: weights start normal with the backbone's own deviation,
biases at zero, and dropout is that of the backbone's hidden states. The RED paper's code has the same two
maps, but starts them as PyTorch's linear maps do (weights and biases uniform in ±1/√D) and drops half of the
features; `trainer=red` asks for that. Everything is float32, whatever the backbone is.

Legend: B examples, T tokens, D hidden, C outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pedro_bench.protocols.head import PARTS_OF_ONE, Head


class TaskHead(nn.Module):
    """A head on the first token.

    Args:
        head: Its outputs.
        hidden_size: D.
        deviation: Standard deviation of the weights at the start, or None for PyTorch's own start.
        dropout: Probability of dropping a feature in training, in [0, 1).
    """

    def __init__(
        self, head: Head, hidden_size: int, *, deviation: float | None, dropout: float
    ) -> None:
        super().__init__()
        self.head = head
        self.dropout = dropout
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, head.num_outputs)
        if deviation is not None:
            for linear in (self.dense, self.out_proj):
                nn.init.normal_(linear.weight, std=deviation)
                nn.init.zeros_(linear.bias)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Return the outputs (B, C) in float32."""
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            first_BD = self._dropped(hidden_BTD[:, 0].float())
            inner_BD = self._dropped(torch.tanh(self.dense(first_BD)))
            outputs_BC: Tensor = self.out_proj(inner_BD)
        return outputs_BC

    def loss(self, outputs_BC: Tensor, codes_B: Tensor, label_smoothing: float) -> Tensor:
        """Return the summed loss: cross-entropy of labels, or the squared error of numbers.

        Args:
            outputs_BC: As `forward` gives them.
            codes_B: Labels as `Head.code` gives them.
            label_smoothing: Of the cross-entropy; numbers have none.
        """
        if self.head.labels:
            return functional.cross_entropy(
                outputs_BC, codes_B, reduction="sum", label_smoothing=label_smoothing
            )
        numbers_B = codes_B.double() / PARTS_OF_ONE + self.head.least
        return functional.mse_loss(outputs_BC[:, 0], numbers_B.float(), reduction="sum")

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)
