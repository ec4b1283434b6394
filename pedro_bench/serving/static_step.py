"""One decoding step through tensors that never move: the cache, the mask, the context's state, the logits.

A step writes the new token's keys and values into slot t of a cache of fixed length, opens that slot in the
mask, and goes on to slot t + 1. What a method made from the prompts (PEDRO's vectors, a batch's LoRA
matrices) is copied into buffers when a generation begins, so a step that was compiled or recorded once
serves every later batch. Rows that a batch leaves over keep what they held; nobody reads them.

The step is traced by running it once (`make_fx`), so contexts, hooks and caches may be ordinary Python. All
tensors, the weights included, are arguments of the graph: nothing is folded into it, it can be bound to the
tensors of another adapter of the same method, and it is compiled once (on a GPU also recorded).

Legend: B rows, T tokens of the padded prompt, N slots, H heads, D width of a head, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from pedro_bench.errors import InjectionError
from pedro_bench.evaluation.batches import lack_of_memory
from pedro_bench.nn.tenant_blocks import TenantContext
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.cache import CACHE

State = dict[str, Any]
"""As `PromptContext.state`: name -> tensors whose first axis is B."""


class FixedLayer(CacheLayerMixin):  # type: ignore[misc]  # the base class is Any to the checker
    """One layer's keys and values, (B, H, N, D) each, written at the slot that all layers share."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, slot_1: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._slot_1 = keys, values, slot_1
        self.num_rows = keys.shape[0]
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to be made."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token's keys and values; return those of all slots."""
        self.keys.index_copy_(2, self._slot_1, key_states)
        self.values.index_copy_(2, self._slot_1, value_states)
        return self.keys, self.values

    def fill(self, keys_BHTD: Tensor, values_BHTD: Tensor) -> None:
        """Take over what prompts left in an ordinary cache."""
        self.num_rows, _, length, _ = keys_BHTD.shape
        self.keys[: self.num_rows, :, :length] = keys_BHTD
        self.values[: self.num_rows, :, :length] = values_BHTD

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let rows go on from other rows' caches, as a beam search asks, without moving the tensors."""
        for held in (self.keys, self.values):
            held[: self.num_rows] = held[: self.num_rows].index_select(0, beam_idx)

    def get_seq_length(self) -> int:
        """Return N: steps carry positions and mask of their own, so nobody counts here."""
        return int(self.keys.shape[2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and the offset of the mask."""
        return self.get_seq_length(), 0

    def get_max_length(self) -> int:
        """Return N."""
        return self.get_seq_length()

    get_max_cache_shape = get_max_length


class StepContext(TenantContext):
    """The context of all static steps of one form: it has a stage and a state, and nothing else.

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

    `num_slots` is N, prompts' padding included; `layers` are keys and values (B, H, T, D) of any batch, for
    their shapes, and so is a context's `state`.

    Attributes:
        cache: What the step hands to the decoder, and a beam search reorders.
        context: The context in which steps run.
    """

    def __init__(
        self,
        backbone: LoadedBackbone,
        num_rows: int,
        num_slots: int,
        layers: Sequence[tuple[Tensor, Tensor]],
        state: State,
    ) -> None:
        self._backbone = backbone
        keys = layers[0][0]
        self._slot_1 = torch.zeros(1, dtype=torch.long, device=keys.device)
        self._tokens_B1 = torch.zeros(num_rows, 1, dtype=torch.long, device=keys.device)
        self._positions_B1 = torch.zeros_like(self._tokens_B1)
        self._mask_B11N = keys.new_zeros(num_rows, 1, 1, num_slots)
        width = backbone.model.get_output_embeddings().weight.shape[0]
        self._logits_BV = torch.zeros(num_rows, width, device=keys.device)

        def room(given: Tensor) -> Tensor:
            return given.new_zeros(num_rows, given.shape[1], num_slots, given.shape[3])

        self.cache = Cache(
            layers=[FixedLayer(room(keys), room(values), self._slot_1) for keys, values in layers]
        )
        own = tree_map(lambda given: given.new_zeros(num_rows, *given.shape[1:]), state)
        self.context = StepContext(own)
        self._program: Callable[[], None] | None = None  # the plain step; held, it would be a cycle

    def tensors(self) -> list[Tensor]:
        """Return every buffer."""
        own = [self._tokens_B1, self._positions_B1, self._slot_1, self._mask_B11N, self._logits_BV]
        held = [tensor for layer in self.cache.layers for tensor in (layer.keys, layer.values)]
        return [*own, *held, *tree_leaves(self.context.state)]

    def install(self, wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """Run `wrap(step)` in place of the plain step from now on; the buffers' content is lost."""
        with self.context.active():
            self._slot_1.zero_()
            program = wrap(self._step)
        self._program = None if program == self._step else program

    def load(self, layers: Iterable[tuple[Tensor, Tensor]], state: State, mask_BT: Tensor) -> None:
        """Begin a generation with what prompts left: keys, values, state, mask_BT (padded on the left)."""
        rows, length = mask_BT.shape
        for own, (keys, values) in zip(self.cache.layers, layers, strict=True):
            own.fill(keys, values)
        own_leaves, given = tree_leaves(self.context.state), tree_leaves(state)
        assert list(state) == list(self.context.state), "one step serves one method"
        for buffer, tensor in zip(own_leaves, given, strict=True):
            buffer[:rows] = tensor
        self._mask_B11N.fill_(torch.finfo(self._mask_B11N.dtype).min)
        self._mask_B11N[:rows, 0, 0, :length].masked_fill_(mask_BT.bool(), 0.0)
        self._positions_B1.zero_()  # rows left over would otherwise count on from batch to batch
        self._positions_B1[:rows, 0] = mask_BT.sum(1)
        self._slot_1.fill_(length)

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


Program = Callable[[], None]
Graph = Callable[..., Any]

_WARM_UPS = 3
"""Runs before a recording, in which libraries take their workspaces."""


def weights_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return every parameter and buffer of some modules, shared ones once, always in the same order."""
    found: dict[int, Tensor] = {}
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                found.setdefault(id(tensor), tensor)
    return list(found.values())


@torch.no_grad()
def compiled(step: Program, tensors: Sequence[Tensor], backend: Any) -> Graph:
    """Trace a step (it runs once) that uses some tensors, each once; return it as a function of them."""
    graph = make_fx(lambda *_: step())(*tensors)
    made: Graph = torch.compile(graph, fullgraph=True, dynamic=False, backend=backend)
    return made


def recorded(program: Program, device: torch.device) -> Program:
    """Record a program's kernels as a CUDA graph and return its replay; on a CPU, return the program.

    The recording is made on a stream of the program's own device, whichever is the current one, and only
    this thread must keep from what a recording forbids: another one may allocate meanwhile, as a bank
    does that takes a tenant in.

    Raises:
        OutOfMemoryError: If memory ran out, also where a recording that was broken off, or the compiler,
            answered with an error of its own.
    """
    if device.type != "cuda":
        return program
    with torch.cuda.device(device):
        own = torch.cuda.current_stream(device)
        try:
            return _recorded(program, device)
        except BaseException as error:
            torch.cuda.set_stream(own)  # a recording that cannot be ended leaves its own in place
            lack = lack_of_memory(error)
            if lack is None or lack is error:
                raise
            raise torch.OutOfMemoryError(str(lack)) from error


def _recorded(program: Program, device: torch.device) -> Program:
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            program()
    torch.cuda.current_stream(device).wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        program()
    replay: Program = graph.replay
    return replay
