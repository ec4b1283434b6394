"""AdaLoRA: low-rank updates in SVD form that share one budget of ranks.

    h = W x + (alpha / r_0) B diag(E) A x        Zhang et al. 2023, arXiv:2303.10512, eq. (3)
    loss = task loss + gamma * mean over all A, B of ||A A^T - I||_F, ||B^T B - I||_F        eq. (4)

A (r_0, in) and B (out, r_0) start as N(0, 0.02^2), E (r_0,) at zero: training starts at the backbone. After
every optimiser step an allocator scores each triplet (row of A, entry of E, column of B) by the
smoothed sensitivity and uncertainty of its entries, and sets the singular values outside the budget to
zero (`layers`). The budget falls from r_0 to r for each matrix on average: whole for
`tinit_ratio` of all steps, by the third power until `tfinal_ratio` of them is left, then the choice is
fixed and what is kept trains on. The PEDRO paper's setting: all seven projections, r_0 = 8, "half of the
rank budget is pruned".

Deviations: as in the authors' code (and peft) the norms in eq. (4) are not squared and are averaged over
the matrices, and updates are scaled by alpha / (r_0 + 1e-5). The phases are parts of the training and not
numbers of steps, since its length differs from task to task. Equal scores are kept in order, so that exactly
the budget is kept (the code would drop them all). An adapter above the budget is never the best one, and
the patience of early stopping counts from the last allocation on (`can_be_best`). Pruned triplets stay in
memory and in the saved adapter, with singular value zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pedro_bench.methods.adalora.layers import RankAllocator, RankSchedule


@dataclass(frozen=True, kw_only=True)
class AdaLora(Method):
    """AdaLoRA's settings.

    Attributes:
        r: Average rank that is kept, at least 1.
        init_r: Rank at the start, at least `r`, or None for twice `r`.
        alpha: Numerator of the scaling alpha / init_r, above 0.
        dropout: Dropout on the updates' input, in [0, 1).
        roles: Projections to adapt, out of LINEAR_ROLES.
        tinit_ratio: Part of all steps before the first allocation, in [0, 1).
        tfinal_ratio: Part of all steps after the last allocation, in [0, 1); together below 1.
        deltaT: Steps between two allocations, at least 1.
        beta1: Decay of the sensitivity's average, in (0, 1).
        beta2: Decay of the uncertainty's average, in (0, 1).
        orth_reg_weight: Weight gamma of the orthogonality term, at least 0.
    """

    r: int
    init_r: int | None
    alpha: float
    dropout: float
    roles: tuple[str, ...]
    tinit_ratio: float
    tfinal_ratio: float
    deltaT: int
    beta1: float
    beta2: float
    orth_reg_weight: float

    is_affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r)
        checks.integer("method.init_r", self.init_r, least=self.r, optional=True)
        checks.number("method.alpha", self.alpha, above=0)
        checks.number("method.dropout", self.dropout, least=0, below=1)
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, LINEAR_ROLES))
        checks.number("method.tinit_ratio", self.tinit_ratio, least=0, below=1)
        checks.number("method.tfinal_ratio", self.tfinal_ratio, least=0, below=1)
        if self.tinit_ratio + self.tfinal_ratio >= 1:
            raise ConfigError(
                "method.tinit_ratio and method.tfinal_ratio must add up to less than 1, got "
                f"{self.tinit_ratio!r} and {self.tfinal_ratio!r}: between them ranks are allocated."
            )
        checks.integer("method.deltaT", self.deltaT)
        checks.number("method.beta1", self.beta1, above=0, below=1)
        checks.number("method.beta2", self.beta2, above=0, below=1)
        checks.number("method.orth_reg_weight", self.orth_reg_weight, least=0)

    @property
    def _start_r(self) -> int:
        return 2 * self.r if self.init_r is None else self.init_r

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Matrices: what is kept, r (in + out) on average; trained at the start: r_0 (in + out + 1)."""
        widths = [width.inputs + width.outputs for _, _, width in shape.each(self.roles)]
        return ParameterCount(
            matrices=self.r * sum(widths), trainable=self._start_r * (sum(widths) + len(widths))
        )

    def attach(self, injection: Injection) -> None:
        """Add an update to every adapted projection, and the allocator of the updates."""
        from pedro_bench.methods.adalora.layers import RankAllocator, SvdUpdate

        for site in injection.sites(self.roles):
            update = injection.add(
                f"layers.{site.layer}.{site.role}",
                SvdUpdate(
                    site.inputs,
                    site.outputs,
                    self._start_r,
                    alpha=self.alpha,
                    dropout=self.dropout,
                ),
            )
            injection.on_output(site, update)
        injection.add("allocator", RankAllocator(beta1=self.beta1, beta2=self.beta2))

    def extra_loss(self, adapter: "nn.Module") -> "Tensor | None":
        """Return the weighted orthogonality term."""
        from pedro_bench.methods.adalora.layers import orthogonality, svd_updates

        return self.orth_reg_weight * orthogonality(svd_updates(adapter))

    def _schedule(self, num_steps: int) -> "RankSchedule":
        from pedro_bench.methods.adalora.layers import RankSchedule

        return RankSchedule(
            first_step=int(self.tinit_ratio * num_steps),
            last_step=num_steps - int(self.tfinal_ratio * num_steps),
            interval=self.deltaT,
            start=self._start_r,
            end=self.r,
        )

    def after_step(self, adapter: "nn.Module", step: int, num_steps: int) -> None:
        """Score the triplets and set singular values outside the budget to zero.

        Raises:
            TrainingError: If there are too few steps for the schedule.
        """
        from pedro_bench.methods.adalora.layers import svd_updates

        _allocator(adapter).act(svd_updates(adapter), step, self._schedule(num_steps))

    def can_be_best(self, step: int, num_steps: int) -> bool:
        """Whether the ranks have reached their budget."""
        return step >= self._schedule(num_steps).last_step

    def runtime_state(self, adapter: "nn.Module") -> "dict[str, Tensor]":
        """Return the allocator's averages and masks."""
        return _allocator(adapter).runtime_state()

    def load_runtime_state(self, adapter: "nn.Module", state: "Mapping[str, Tensor]") -> None:
        """Take the allocator's averages and masks back."""
        from pedro_bench.methods.adalora.layers import svd_updates

        _allocator(adapter).load_runtime_state(state, svd_updates(adapter))


def _allocator(adapter: "nn.Module") -> "RankAllocator":
    found: RankAllocator = adapter.get_submodule("allocator")  # type: ignore[assignment]
    return found
