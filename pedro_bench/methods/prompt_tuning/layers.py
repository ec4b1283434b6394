"""Trainable embeddings of virtual tokens.

Legend: B examples, P virtual tokens, D hidden.
"""

import torch
from torch import Tensor, nn


class PromptEmbedding(nn.Module):
    """A matrix (P, D) that starts as embeddings of tokens drawn at random, with replacement.

    Args:
        num_virtual_tokens: P, at least 1.
        embedding: The backbone's embedding; what it gives is copied, scaling included.
        vocab_size: Tokens to draw from.

    Attributes:
        embedding: The matrix, float32.
    """

    def __init__(self, num_virtual_tokens: int, embedding: nn.Module, vocab_size: int) -> None:
        super().__init__()
        ids_P = torch.randint(0, vocab_size, (num_virtual_tokens,))
        with torch.no_grad():
            start_PD = embedding(ids_P.to(next(embedding.parameters()).device))
        self.embedding = nn.Parameter(start_PD.detach().float().clone())

    def forward(self, num_examples: int) -> Tensor:
        """Return the virtual tokens of each example, (B, P, D)."""
        return self.embedding.expand(num_examples, -1, -1)
