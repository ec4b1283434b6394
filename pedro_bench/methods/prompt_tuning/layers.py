"""Trainable embeddings of virtual tokens, for one adapter and for many tenants.

Legend: B examples, P virtual tokens, D hidden.
"""

import torch
from torch import Tensor, nn

from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block


class PromptEmbedding(nn.Module):
    """A float32 matrix (P, D) that starts as embeddings of tokens drawn at random, with replacement.

    `embedding` is the backbone's; what it gives is copied, scaling included.
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


class TenantPrompt(TenantBlock):
    """`PromptEmbedding` for many tenants. Used while prompts pass."""

    def forward(self, num_examples: int) -> Tensor:
        """Return each tenant's virtual tokens, (B, P, D)."""
        tokens_BPD = self.gather(self.device)["embedding"]
        assert len(tokens_BPD) == num_examples
        return tokens_BPD


tenant_block.register(PromptEmbedding, TenantPrompt)
