"""Adapter bank: N trained adapters of one method on one backbone; every batch may mix tenants.

Each sequence gets the text it would get with its tenant's adapter alone. Tenants come and go while others
generate: a generation holds the tensors it began with. Batches of one bank run one after another.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pedro_bench import checks
from pedro_bench.data.chat import NONE, templates_for
from pedro_bench.errors import BackboneError, ConfigError
from pedro_bench.evaluation.batches import by_length
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.labelling import label
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.tenant_blocks import TenantContext
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.serving.attaching import ForTenants, MixedBatch, check_number, context_of
from pedro_bench.serving.fast_decoding import decoder_for, stepping
from pedro_bench.serving.registry import (
    BankMemory,
    ModelLock,
    Registry,
    Tenant,
    TenantAdapter,
)
from pedro_bench.serving.requests import (
    answered,
    batches,
    check_numbers,
    encode_labelled,
    encode_prompts,
    label_requests,
)
from pedro_bench.serving.validation import check_mixing, head_of, held_of, refuse_unknown

STORES = ("backbone", "cpu")
"""Where tenants' tensors lie: on the backbone's device, or in main memory, from where those of a batch
are fetched once for each batch."""


class AdapterBank:
    """Many tenants on one backbone.

    Args:
        backbone: The loaded backbone; it carries no other method until `close`.
        method: What every tenant trained.
        store: One of STORES.
        max_length: Most tokens of prompt and answer together; the backbone's positions, less the
            method's own tokens, where these are fewer. A tenant whose run took fewer takes as many.
        decoding: One of `evaluation.config.DECODINGS`.

    Raises:
        BackboneError: If what a sequence gets depends on those beside it on this backbone.
        ConfigError: If `decoding` does not suit the backbone, or a setting is none of the known words.
        InjectionError: If the method cannot serve many tenants, with the reason, or the backbone
            carries a method already.
    """

    def __init__(
        self,
        backbone: LoadedBackbone,
        method: Method,
        *,
        store: str = "backbone",
        max_length: int = 2048,
        decoding: str = "plain",
    ) -> None:
        checks.choice("store", store, STORES)
        checks.integer("max_length", max_length)
        check_mixing(backbone)
        self.backbone = backbone
        self.method = method
        whole = max_length + method.num_positions
        self.max_length = tokens_left(whole, method, backbone.shape, "max_length")
        self._device = backbone.device if store == "backbone" else torch.device("cpu")
        self._decoder = decoder_for(backbone, decoding)
        wrapped = ForTenants.of(method)
        self._adapted = AdaptedModel(backbone, wrapped)
        self._adapted.eval()
        self._blocks = wrapped.blocks
        self._registry = Registry()
        self._lock = ModelLock()

    @property
    def tenants(self) -> tuple[str, ...]:
        """Names of all tenants, in the order they came."""
        return self._registry.names

    def add(self, tenant: str, adapter: TenantAdapter) -> None:
        """Take a tenant in; others may be generating.

        Its tensors are copied, in the dtype that the method computes in: as they act when it is alone.

        Raises:
            ConfigError: If the name is taken or not a text, another method was trained, or its
                `max_length` is no whole number above the method's own tokens.
            BackboneError: If it was trained on another backbone.
            InjectionError: If its tensors are not those of the method on this backbone, or hold numbers that
                are not finite.
            ContextError: If the bank was closed, be it meanwhile.
        """
        checks.text("tenant", tenant)
        if not isinstance(adapter, TenantAdapter):
            raise ConfigError(
                f"adapter must be a TenantAdapter, such as saved_adapter(path) gives, got {adapter!r}."
            )
        self._registry.refuse_taken(tenant)
        refuse_unknown(tenant, adapter, self.backbone, self.method, self._blocks)
        max_length = self.max_length
        if adapter.max_length is not None:
            checks.integer("adapter.max_length", adapter.max_length)
            own = tokens_left(adapter.max_length, self.method, self.backbone.shape)
            max_length = min(own, max_length)
        templates = adapter.templates
        if adapter.chat_template != NONE:
            task = {"chat_template": adapter.chat_template}
            templates = templates_for(task, self.backbone.tokenizer)
        held = held_of(tenant, adapter, self._blocks, self._device)
        head = head_of(tenant, adapter, self.backbone, self._device)
        self._registry.enter(tenant, Tenant(held, max_length, head, templates, adapter.search))

    def remove(self, tenant: str) -> None:
        """Let a tenant go; generations that began with it end with it.

        Raises:
            ConfigError: If the bank has no such tenant.
            ContextError: If the bank was closed.
        """
        checks.text("tenant", tenant)
        self._registry.leave(tenant)

    def memory(self) -> BankMemory:
        """Return what the tenants take."""
        sizes = self._registry.sizes
        return BankMemory(len(sizes), max(sizes, default=0), sum(sizes), str(self._device))

    def generate(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        num_beams: int = 3,
        max_new_tokens: int = 16,
        batch_size: int = 32,
    ) -> list[str]:
        """Answer prompts of any tenants, mixed; each with its run's length penalty and n-gram rule.

        Tenants that differ in these, or in how their template ends an answer, are decoded in batches of
        their own.

        Args:
            requests: (tenant, prompt) for each; prompts without trailing space. Control tokens are
                those that the tenant's template writes; elsewhere their written form is text.
            num_beams: Beams of each prompt; 1 is greedy decoding.
            max_new_tokens: Longest answer, in tokens.
            batch_size: Prompts decoded together.

        Returns:
            The answers without leading space, in the order of `requests`.

        Raises:
            ConfigError: If a tenant is unknown, or an argument is not as above.
            DataError: If a prompt and its answer are longer than the `max_length` of the bank or of the
                tenant's run, or UTF-8 cannot encode it.
            ContextError: If the bank was closed, be it between two batches.
            TrainingError: If the device runs out of memory, or outputs are not numbers; with those tenants.
        """
        requests = checks.pairs("requests", requests, ("tenant", "prompt"))
        check_numbers(num_beams, max_new_tokens, batch_size)
        tenants = [tenant for tenant, _ in requests]
        found = self._find(tenants)
        encoded = encode_prompts(
            self.backbone.tokenizer,
            requests,
            found,
            max_new_tokens=max_new_tokens,
        )
        texts = self._answers(
            tenants,
            found,
            encoded,
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )
        return [text.strip() for text in texts]

    def generate_encoded(
        self,
        tenants: Sequence[str],
        prompts: Sequence[Encoded],
        *,
        num_beams: int,
        max_new_tokens: int,
        batch_size: int,
    ) -> list[str]:
        """As `generate`, of prompts that are token ids already; the text is as the tokenizer has it.

        Raises:
            ConfigError: If a tenant is unknown, their number is not that of the prompts, or another
                argument no whole number of at least 1.
            DataError: If a prompt and its answer exceed the backbone's positions.
            ContextError: If the bank was closed, be it between two batches.
            TrainingError: If the device runs out of memory, or outputs are not numbers; with those tenants.
        """
        check_numbers(num_beams, max_new_tokens, batch_size)
        check_number(tenants, len(prompts))
        return self._answers(
            tenants,
            self._find(tenants),
            prompts,
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )

    def label(
        self, requests: Sequence[tuple[str, str | tuple[str, str]]], *, batch_size: int = 32
    ) -> list[str]:
        """Say of texts of any tenants, mixed, what each tenant's head on the encoder says.

        Args:
            requests: (tenant, texts) for each; the texts as `SavedRun.label` takes them: one, or a pair.
            batch_size: Texts labelled together.

        Returns:
            A label word, or a number as text, for each, in the order of `requests`.

        Raises:
            BackboneError: If the backbone is no encoder.
            ConfigError: If a tenant is unknown, or an argument is not as above.
            DataError: If a text is longer than the `max_length` of the bank or of the tenant's run, or
                UTF-8 cannot encode it.
            ContextError: If the bank was closed, be it between two batches.
            TrainingError: If the device runs out of memory, or outputs are not numbers; with those tenants.
        """
        self._require_heads()
        pairs = label_requests(requests)
        checks.integer("batch_size", batch_size)
        tenants = [tenant for tenant, _ in pairs]
        found = self._find(tenants)
        encoded = encode_labelled(self.backbone.tokenizer, pairs, found)
        return self._labels(tenants, found, encoded, batch_size=batch_size)

    def label_encoded(
        self, tenants: Sequence[str], texts: Sequence[Encoded], *, batch_size: int
    ) -> list[str]:
        """As `label`, of texts that are token ids already.

        Raises:
            BackboneError: If the backbone is no encoder.
            ConfigError: If a tenant is unknown, their number is not that of the texts, or `batch_size` no
                whole number of at least 1.
            DataError: If a text exceeds the backbone's positions.
            ContextError: If the bank was closed, be it between two batches.
            TrainingError: If the device runs out of memory, or outputs are not numbers; with those tenants.
        """
        self._require_heads()
        checks.integer("batch_size", batch_size)
        check_number(tenants, len(texts))
        return self._labels(tenants, self._find(tenants), texts, batch_size=batch_size)

    def _labels(
        self,
        tenants: Sequence[str],
        found: Mapping[str, Tenant],
        texts: Sequence[Encoded],
        *,
        batch_size: int,
    ) -> list[str]:
        """As `label_encoded`, of tenants that were looked up."""
        held = {tenant: one.held for tenant, one in found.items()}
        heads = {tenant: one.head for tenant, one in found.items() if one.head is not None}
        said = [""] * len(texts)

        def answer(rows: Sequence[int]) -> list[str]:
            batch, names = [texts[row] for row in rows], [tenants[row] for row in rows]
            view = MixedBatch(self._adapted, names, held, batch, [heads[one] for one in names])
            with self._lock.taken():
                self._registry.refuse_closed("label")
                return label(view, batch, batch_size=len(batch))

        for rows in by_length([len(one.prompt_ids) for one in texts], batch_size):
            for row, one in zip(rows, answered(answer, rows, tenants), strict=True):
                said[row] = one
        return said

    def _require_heads(self) -> None:
        """Require an encoder.

        Raises:
            BackboneError: If the backbone is none.
        """
        if self.backbone.kind != "encoder":
            raise BackboneError(
                f"label must be asked of a bank on an encoder, got backbone={self.backbone.name!r}, "
                "which answers in text: call generate."
            )

    def _find(self, tenants: Sequence[str]) -> dict[str, Tenant]:
        """Return the tenants of these names, each looked up once; raises as `Registry.find`."""
        return {tenant: self._registry.find(tenant) for tenant in dict.fromkeys(tenants)}

    def _answers(
        self,
        tenants: Sequence[str],
        found: Mapping[str, Tenant],
        prompts: Sequence[Encoded],
        *,
        num_beams: int,
        max_new_tokens: int,
        batch_size: int,
    ) -> list[str]:
        """As `generate_encoded`, of tenants that were looked up."""
        held = {tenant: one.held for tenant, one in found.items()}
        texts = [""] * len(prompts)

        def answer(rows: Sequence[int]) -> list[str]:
            batch = [prompts[row] for row in rows]
            search, ending = found[tenants[rows[0]]].decoding  # the batch's
            view = MixedBatch(self._adapted, [tenants[row] for row in rows], held, batch)
            steps = stepping(self._decoder, view.modules(), max_new_tokens=max_new_tokens)
            # decoding sets modes and settings of the one model for its time
            with self._lock.taken():
                self._registry.refuse_closed("generate")
                with steps:
                    return generate(
                        view,
                        batch,
                        num_beams=num_beams,
                        max_new_tokens=max_new_tokens,
                        batch_size=len(batch),
                        length_penalty=search.length_penalty,
                        no_repeat_ngram_size=search.no_repeat_ngram_size,
                        ending=ending,
                    )

        for rows in batches([found[one] for one in tenants], prompts, batch_size):
            for row, one in zip(rows, answered(answer, rows, tenants), strict=True):
                texts[row] = one
        return texts

    def context(self, prompt_mask_BT: Tensor, tenants: Sequence[str]) -> TenantContext:
        """Make the context of one generation of your own: `with bank.context(mask, names).active():`.

        Args:
            prompt_mask_BT: True at prompt tokens.
            tenants: Whose each example is.

        Raises:
            ConfigError: If a tenant is unknown, or their number is not that of the examples.
            ContextError: If the bank was closed.
        """
        held = {tenant: one.held for tenant, one in self._find(tenants).items()}
        return context_of(prompt_mask_BT.to(self.backbone.device), tenants, held)

    def close(self) -> None:
        """Take the method out of the backbone again, bit for bit; tenants are forgotten.

        Waits for the batch that another thread is decoding; what that generation has left is refused.

        Raises:
            ContextError: If this thread is decoding one.
        """
        with self._lock.taken():
            self._registry.close()
            self._adapted.remove()
            if self._decoder is not None:
                self._decoder.shapes.release()
