"""What runs in place of a plain step: the step compiled into one graph, and recorded as a CUDA graph.

    step  --compiled-->  graph(tensors)  --recorded-->  replay of its kernels

A step (`static_step`) is traced by running it once (`make_fx`), so contexts, hooks and caches may be ordinary
Python: none of it runs again. All tensors, the weights included, are arguments of the graph. So nothing is
folded into it, it can be bound to the tensors of another adapter of the same method, and it is compiled once.
A recording holds addresses, so it is made anew where a graph is bound to other tensors.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from pedro_bench.evaluation.batches import lack_of_memory

Program = Callable[[], None]
"""One step over buffers that it knows."""

Graph = Callable[..., Any]
"""One step as a function of all tensors that it uses."""

_WARM_UP_RUNS = 3
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
    """Trace a step, which runs once, and compile it.

    Args:
        step: The plain step.
        tensors: All that it uses, each once.
        backend: Of `torch.compile`.

    Returns:
        A function of these tensors.
    """
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
        for _ in range(_WARM_UP_RUNS):
            program()
    torch.cuda.current_stream(device).wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        program()
    replay: Program = graph.replay
    return replay
