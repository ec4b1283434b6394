"""One decoding step through tensors that never move: its cache, mask, positions, state and logits.

A generation begins with an ordinary forward, which reads the prompts. What that leaves (`Prefill`) is copied
into the step's buffers. From then on one call of the step reads one token of every row:

    open slot t in the mask; write the tokens' keys and values into slot t; logits; positions + 1; t + 1

    tokens        (B, 1)         the token that each row reads
    positions     (B, 1)         where it stands in its row's text, padding not counted
    slot          (1,)           t, the same for all rows
    mask          (B, 1, 1, N)   added to attention scores: 0 where a slot is read, else the lowest number
    keys, values  (B, H, N, D)   of each layer
    state         (B, …)         what the method made from the prompts, such as PEDRO's vectors
    logits        (B, V)         float32

A step that is compiled or recorded (`step_programs`) was traced once, and is replayed for every later token
and batch: a replay repeats its operations on the same tensors, and runs no Python. So a step may not

- make a tensor that a later step reads, or be given one: it reads and writes these buffers in place. A batch
  of fewer rows leaves the other rows as they are; they are computed too, and nobody reads them.
- decide anything in Python by what differs between steps, such as how many tokens were read: t is a tensor,
  and every step reads all N slots, under the mask.
- ask the prompt context for more than the state, such as which positions are prompt: it would get what held
  for the batch it was traced with. `StepContext` refuses.
- wait for the device, as `item()` does, which a recording forbids.

Legend: B rows, T tokens of the padded prompts, N slots, H heads, D width of a head, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from transformers import Cache

from pedro_bench.errors import InjectionError
from pedro_bench.nn.tenant_blocks import TenantContext
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.cache import CACHE
from pedro_bench.serving.fixed_cache import FixedLayer
from pedro_bench.serving.step_programs import Program

State = dict[str, Any]
"""As `PromptContext.state`: name -> tensors whose first axis is B."""


@dataclass(frozen=True, eq=False)
class Prefill:
    """What a forward over prompts left, from which static steps go on.

    Attributes:
        cache: The cache that it filled, an ordinary one of Transformers.
        state: The state of its prompt context.
        mask_BT: True at tokens, False at the padding to their left.
    """

    cache: Any
    state: State
    mask_BT: Tensor

    @classmethod
    def of(cls, cache: Any, state: State, mask_BT: Tensor | None) -> "Prefill":
        """Return what was left; no mask means no padding."""
        if mask_BT is None:
            rows, _, length, _ = cache.layers[0].keys.shape
            device = cache.layers[0].keys.device
            mask_BT = torch.ones(rows, length, dtype=torch.bool, device=device)
        return cls(cache, state, mask_BT)

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (B, H, T, D) of each layer."""
        return [(layer.keys, layer.values) for layer in self.cache.layers]

    @property
    def num_rows(self) -> int:
        """B."""
        return int(self.cache.layers[0].keys.shape[0])

    @property
    def num_tokens(self) -> int:
        """T."""
        return int(self.cache.layers[0].keys.shape[2])

    def free(self) -> None:
        """Give the tensors back, although a search holds on to cache and context until it ends."""
        self.cache.layers.clear()
        self.state.clear()


class StepContext(TenantContext):
    """The context of all static steps of one shape: it has a stage and a state, and nothing else.

    A method whose step asks for more (which positions are prompt, how long the cache is) would get what
    held for another batch, so it is refused.
    """

    def __init__(self, state: State) -> None:
        self.stage = "step"
        self.state = state
        self._made = {}

    def enter_forward(self, num_examples: int, num_tokens: int, cache: Any) -> None:
        """Forget what the last step shared between its layers."""
        self._made = {}

    def __getattr__(self, name: str) -> Any:
        raise InjectionError(
            "decoding must be plain with a method whose steps depend on more than what it made from "
            f"the prompt, got one that reads {name!r} of its context."
        )


class StaticStep:
    """Buffers of one shape, and the step over them; a batch may have fewer rows.

    Args:
        backbone: The backbone.
        num_rows: B, beams included.
        num_slots: N, prompts' padding included.
        like: What the prompts of any batch left, for the shapes of one row.

    Attributes:
        cache: What the step hands to the decoder, and a beam search reorders.
        context: The context in which steps run.
    """

    def __init__(
        self, backbone: LoadedBackbone, num_rows: int, num_slots: int, like: Prefill
    ) -> None:
        self._backbone = backbone
        layers = like.layers
        keys, _ = layers[0]
        self._slot_1 = torch.zeros(1, dtype=torch.long, device=keys.device)
        self._tokens_B1 = torch.zeros(num_rows, 1, dtype=torch.long, device=keys.device)
        self._positions_B1 = torch.zeros_like(self._tokens_B1)
        self._mask_B11N = keys.new_zeros(num_rows, 1, 1, num_slots)
        vocabulary = backbone.model.get_output_embeddings().weight.shape[0]
        self._logits_BV = torch.zeros(num_rows, vocabulary, device=keys.device)

        def room(given: Tensor) -> Tensor:
            return given.new_zeros(num_rows, given.shape[1], num_slots, given.shape[3])

        self.cache = Cache(
            layers=[FixedLayer(room(keys), room(values), self._slot_1) for keys, values in layers]
        )
        own = tree_map(lambda given: given.new_zeros(num_rows, *given.shape[1:]), like.state)
        self.context = StepContext(own)
        self._program: Program | None = None  # None: the plain step, which, held, would be a cycle

    def tensors(self) -> list[Tensor]:
        """Return every buffer."""
        own = [self._tokens_B1, self._positions_B1, self._slot_1, self._mask_B11N, self._logits_BV]
        held = [tensor for layer in self.cache.layers for tensor in (layer.keys, layer.values)]
        return [*own, *held, *tree_leaves(self.context.state)]

    def install(self, wrap: Callable[[Program], Program]) -> None:
        """Run `wrap(step)` in place of the plain step from now on; the buffers' content is lost."""
        with self.context.active():
            self._slot_1.zero_()
            program = wrap(self._step)
        self._program = None if program == self._step else program

    def load(self, prefill: Prefill) -> None:
        """Begin a generation with what the prompts left, of B rows at most and fewer than N tokens."""
        rows, length = prefill.num_rows, prefill.num_tokens
        for own, (keys, values) in zip(self.cache.layers, prefill.layers, strict=True):
            own.fill(keys, values)
        self._load_state(prefill.state, rows)
        self._mask_B11N.fill_(torch.finfo(self._mask_B11N.dtype).min)
        self._mask_B11N[:rows, 0, 0, :length].masked_fill_(prefill.mask_BT.bool(), 0.0)
        self._positions_B1.zero_()  # rows left over would otherwise count on from batch to batch
        self._positions_B1[:rows, 0] = prefill.mask_BT.sum(1)
        self._slot_1.fill_(length)

    def _load_state(self, state: State, rows: int) -> None:
        assert list(state) == list(self.context.state), "one step serves one method"
        own, given = tree_leaves(self.context.state), tree_leaves(state)
        for buffer, tensor in zip(own, given, strict=True):
            buffer[:rows] = tensor

    def __call__(self, tokens_B1: Tensor) -> Tensor:
        """Read one token of each row; return float32 logits (B, V), valid until the next step."""
        rows = tokens_B1.shape[0]
        self._tokens_B1[:rows] = tokens_B1
        with self.context.active():
            (self._program or self._step)()
        return self._logits_BV[:rows]

    def _step(self) -> None:
        self._mask_B11N.index_fill_(3, self._slot_1, 0.0)
        hidden_B1D = self._backbone.decoder(
            input_ids=self._tokens_B1,
            attention_mask=self._mask_B11N,
            position_ids=self._positions_B1,
            use_cache=True,
            **{CACHE: self.cache},
        ).last_hidden_state
        self._logits_BV.copy_(self._backbone.head(hidden_B1D[:, -1]))
        self._positions_B1.add_(1)
        self._slot_1.add_(1)
