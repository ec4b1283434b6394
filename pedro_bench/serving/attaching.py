"""Attach a method for many tenants: the method's own `attach`, with tenant forms of its blocks.

The method asks for roles and wires hooks exactly as for one adapter. Only `Injection.add` differs: it
answers with the block's tenant form (`nn.tenant_blocks`), so no method is named here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.task_head import TaskHead
from pedro_bench.nn.tenant_blocks import TenantBlock, TenantContext, Tensors, tenant_block
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.batch import Batch, Encoded
from pedro_bench.protocols.method import Injection, Method, ParameterCount


@dataclass(frozen=True, kw_only=True)
class ForTenants(Method):
    """A method without parameters, whose blocks serve many tenants: path -> tenant form, once attached."""

    inner: Method
    blocks: dict[str, TenantBlock] = field(default_factory=dict)

    @classmethod
    def of(cls, method: Method) -> "ForTenants":
        """Wrap a method."""
        return cls(name=method.name, label=method.label, inner=method)

    @property
    def num_positions(self) -> int:
        """As the method's."""
        return self.inner.num_positions

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Return what each tenant trained."""
        return self.inner.count(shape)

    def attach(self, injection: Injection) -> None:
        """Attach the method with the tenant forms of its blocks.

        Raises:
            InjectionError: If the method cannot serve many tenants; the message says why.
        """
        if self.inner.is_searching:
            raise InjectionError(
                f"method {self.inner.name!r} must have a structure to be held in a bank, got one that "
                "searches for it first: take the method of a trained adapter, or give method.structure."
            )
        # The templates' random starts are thrown away, so they leave no trace in the caller's stream.
        with torch.random.fork_rng(devices=[]):
            self.inner.attach(_TenantInjection(injection, self.inner.name, self.blocks))


class _TenantInjection:
    """`protocols.method.Injection` that turns every added block into its tenant form."""

    def __init__(
        self, injection: Injection, method_name: str, blocks: dict[str, TenantBlock]
    ) -> None:
        self._injection = injection
        self._method_name = method_name
        self._blocks = blocks

    @property
    def shape(self) -> BackboneShape:
        """Sizes of the backbone."""
        return self._injection.shape

    @property
    def positions(self) -> str:
        """How the backbone knows where a token stands."""
        return self._injection.positions

    @property
    def kind(self) -> str:
        """What the backbone reads and writes."""
        return self._injection.kind

    def sites(self, roles: Sequence[str]) -> list[Site]:
        """Every place of the roles."""
        return self._injection.sites(roles)

    def add(self, name: str, module: nn.Module) -> Any:
        """Register the block's tenant form and return it.

        Raises:
            InjectionError: If it has none.
        """
        try:
            block = tenant_block(module)
        except InjectionError as error:
            raise InjectionError(
                f"method {self._method_name!r} must be made of blocks that serve many tenants to be "
                f"held in a bank, got {type(module).__name__}, which acts for one adapter only: load "
                "each run by itself, or register the block's tenant form with "
                "pedro_bench.nn.tenant_blocks.tenant_block."
            ) from error
        self._blocks[name] = block
        return self._injection.add(name, block)

    def on_input(self, site: Site, change: Callable[[Tensor], Tensor | None]) -> None:
        """As for one adapter."""
        self._injection.on_input(site, change)

    def on_prompt(self, site: Site, see: Callable[[Tensor], None]) -> None:
        """As for one adapter."""
        self._injection.on_prompt(site, see)

    def on_arguments(
        self, site: Site, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """As for one adapter."""
        self._injection.on_arguments(site, change)

    def placed(self, tokens_BPD: Tensor, positions_BP: Tensor) -> Tensor:
        """As for one adapter."""
        return self._injection.placed(tokens_BPD, positions_BP)

    def on_positions(self, change: Callable[[Tensor], Tensor]) -> None:
        """As for one adapter."""
        self._injection.on_positions(change)

    def on_output(self, site: Site, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        """As for one adapter."""
        self._injection.on_output(site, change)

    def train_backbone(self, selects: Callable[[str], bool]) -> None:
        """Refuse: tenants share the backbone's weights.

        Raises:
            InjectionError: Always.
        """
        raise InjectionError(
            f"method {self._method_name!r} must leave the backbone's weights alone to be held in a "
            "bank, got one that trains them: tenants share one backbone."
        )


Held = Mapping[str, Tensors]
"""One tenant's tensors: path of a block -> name -> tensor."""


class MixedBatch:
    """One batch of a bank as decoding sees it: an adapted model whose context knows the tenants."""

    def __init__(
        self,
        adapted: AdaptedModel,
        tenants: Sequence[str],
        held: Mapping[str, Held],
        prompts: Sequence[Encoded],
        heads: Sequence[TaskHead] = (),
    ) -> None:
        self.backbone = adapted.backbone
        self.method = adapted.method
        self._adapted = adapted
        self._tenants = tenants
        self._held = held
        self._heads = heads
        # an encoder-decoder's prompts get their end, see `LoadedBackbone.prompt`
        end = adapted.backbone.kind == "encoder_decoder"
        self._lengths = [len(prompt.prompt_ids) + end for prompt in prompts]

    def modules(self) -> Iterator[nn.Module]:
        """All modules, the backbone's included."""
        return self._adapted.modules()

    def context(self, prompt_mask_BT: Tensor) -> TenantContext:
        """Make the context of the batch; its rows stand as the batch was given, longest first."""
        assert prompt_mask_BT.sum(1).tolist() == self._lengths
        return context_of(prompt_mask_BT, self._tenants, self._held)

    def labels(self, batch: Batch) -> list[str]:
        """Return what each example's tenant's head says of it, as text."""
        with self.context(batch.prompt_mask_BT).active():
            hidden_BTD = self.backbone.states(batch)
        said = []
        for row, head in enumerate(self._heads):
            first_11D = hidden_BTD[row : row + 1, :1].to(head.out_proj.weight.device)
            said.append(head.head.answer(head(first_11D)[0].tolist()))
        return said

    def answer_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As an adapted model's; within a context of the caller's own."""
        return self._adapted.answer_logits(batch)


def context_of(
    prompt_mask_BT: Tensor, tenants: Sequence[str], held: Mapping[str, Held]
) -> TenantContext:
    """Make the context of one generation.

    Args:
        prompt_mask_BT: True at prompt tokens.
        tenants: Whose each example is.
        held: Every tenant's tensors.

    Raises:
        ConfigError: If the number of tenants is not that of the examples.
    """
    check_number(tenants, prompt_mask_BT.shape[0])
    distinct = list(dict.fromkeys(tenants))
    place = {tenant: index for index, tenant in enumerate(distinct)}
    index_B = torch.tensor([place[tenant] for tenant in tenants], device=prompt_mask_BT.device)
    return TenantContext(prompt_mask_BT, index_B, [held[tenant] for tenant in distinct])


def check_number(tenants: Sequence[str], num_examples: int) -> None:
    """Require a tenant for each example.

    Raises:
        ConfigError: If their numbers differ.
    """
    if len(tenants) != num_examples:
        raise ConfigError(
            f"tenants must name one for each of the {num_examples} examples, got {len(tenants)}."
        )
