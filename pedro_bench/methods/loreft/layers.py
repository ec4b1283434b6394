"""LoReFT's intervention on hidden states, for one adapter and for many tenants; the positions where it acts.

Legend: B examples, T tokens, D hidden, R rank, N chosen positions of the whole batch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block


class SubspaceIntervention(nn.Module):
    """h + R^T (W h + b - R h), in float32, cast back to the dtype of h.

    R^T is the first R columns of H_1 H_2 … H_R, H_i = I - t_i v_i v_i^T with t_i = 2 / ||v_i||^2, whose rows
    i + 1 … D are trained; v_i is one in row i and zero above. So R has orthonormal rows whatever is trained.

    Args:
        hidden_size: D.
        r: Rank R, at least 1 and at most D.
        dropout: Probability of dropping a feature of what comes out, in training.

    Attributes:
        reflections: (D, R), column i the reflection v_i; entries on and above the diagonal are not read. It
            starts as the reflections of a random matrix, whose R is orthonormal at random.
        source: W (R, D) and b (R,).
    """

    def __init__(self, hidden_size: int, r: int, *, dropout: float) -> None:
        super().__init__()
        start_DR = torch.linalg.qr(torch.randn(hidden_size, r))[0]
        self.reflections = nn.Parameter(torch.geqrf(start_DR)[0].tril(-1))
        self.source = nn.Linear(hidden_size, r)
        self.dropout = dropout

    def basis(self) -> Tensor:
        """Return R^T (D, R), with orthonormal columns."""
        return basis_of(self.reflections)

    def forward(self, hidden_BTD: Tensor, chosen_BT: Tensor) -> Tensor:
        """Return the hidden states (B, T, D), changed where `chosen_BT` (B, T) is True."""
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            h_ND = hidden_BTD[chosen_BT].to(self.reflections.dtype)
            basis_DR = self.basis()
            moved_ND = h_ND + (self.source(h_ND) - h_ND @ basis_DR) @ basis_DR.mT
            moved_ND = F.dropout(moved_ND, self.dropout, self.training)
        changed_BTD = hidden_BTD.clone()
        changed_BTD[chosen_BT] = moved_ND.to(hidden_BTD.dtype)
        return changed_BTD


class TenantIntervention(TenantBlock):
    """`SubspaceIntervention` for many tenants; R is made when a tenant is added. Used while prompts pass."""

    training_only = ("dropout",)

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep R^T in place of its reflections, W and b."""
        return {
            "basis": basis_of(tensors["reflections"]),
            "weight": tensors["source.weight"],
            "bias": tensors["source.bias"],
        }

    def forward(self, hidden_BTD: Tensor, chosen_BT: Tensor) -> Tensor:
        """Return the hidden states (B, T, D), changed by each tenant's own where `chosen_BT` is True."""
        rows = self.gather(hidden_BTD.device)
        h_BTD = hidden_BTD.to(rows["basis"].dtype)
        source_BTR = h_BTD @ rows["weight"].mT + rows["bias"].unsqueeze(1)
        moved_BTD = h_BTD + (source_BTR - h_BTD @ rows["basis"]) @ rows["basis"].mT
        return torch.where(chosen_BT.unsqueeze(-1), moved_BTD.to(hidden_BTD.dtype), hidden_BTD)


tenant_block.register(SubspaceIntervention, TenantIntervention)


def basis_of(reflections_DR: Tensor) -> Tensor:
    """Return R^T (D, R), with orthonormal columns, of the reflections below the diagonal."""
    below_DR = reflections_DR.tril(-1)
    scale_R = 2 / (1 + below_DR.square().sum(0))
    basis_DR: Tensor = torch.linalg.householder_product(below_DR, scale_R)
    return basis_DR


def ends_of(prompt_mask_BT: Tensor, prefix: int, suffix: int) -> tuple[Tensor, Tensor]:
    """Return where the first `prefix` and the last `suffix` prompt tokens stand, (B, T) each.

    Of a prompt of n tokens at most n // 2 count as first and n // 2 as last.
    """
    place_BT = prompt_mask_BT.long().cumsum(1)
    number_B1 = place_BT[:, -1:]
    half_B1 = number_B1 // 2
    first_BT = prompt_mask_BT & (place_BT <= half_B1.clamp(max=prefix))
    last_BT = prompt_mask_BT & (place_BT > number_B1 - half_B1.clamp(max=suffix))
    return first_BT, last_BT
