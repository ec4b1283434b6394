"""What a prompt context keeps for one generation, and what for one forward."""

from types import SimpleNamespace
from typing import Any

import torch

from pedro_bench.protocols.context import PromptContext


class Cache(SimpleNamespace):
    """A cache of some length."""

    def get_seq_length(self) -> int:
        length: int = self.length
        return length


def context_of(*lengths: int) -> PromptContext:
    width = max(lengths)
    columns = torch.arange(width)
    return PromptContext(torch.stack([columns >= width - length for length in lengths]))


def test_beams_repeat_state_and_leave_shared_rows_shared() -> None:
    context = context_of(3, 2)
    own = torch.arange(4.0).view(2, 2)
    shared = torch.tensor([[7.0, 8.0]]).expand(2, 2)
    context.state = {"pair": (own, shared)}
    context.expand(3)
    repeated, still_shared = context.state["pair"]
    assert repeated[:, 0].tolist() == [0, 0, 0, 2, 2, 2]
    assert still_shared.tolist() == [[7, 8]] * 6
    assert still_shared.data_ptr() == shared.data_ptr()
    assert context.last_prompt_B.tolist() == [2] * 6


def test_some_examples_keep_their_state_and_shared_rows_stay_shared() -> None:
    context = context_of(3, 2, 1)
    own = torch.arange(6.0).view(3, 2)
    shared = torch.tensor([[7.0, 8.0]]).expand(3, 2)
    context.state = {"pair": (own, shared), "more": {"one": own}}
    context.select(torch.tensor([2, 0]))
    kept, still_shared = context.state["pair"]
    assert kept.tolist() == [[4, 5], [0, 1]]
    assert torch.equal(context.state["more"]["one"], kept)
    assert still_shared.tolist() == [[7, 8]] * 2
    assert still_shared.data_ptr() == shared.data_ptr()
    assert context.prompt_mask_BT.sum(1).tolist() == [1, 3]
    assert context.last_prompt_B.tolist() == [2, 2]


def test_some_examples_end_where_they_ended() -> None:
    """With padding on the right, prompts end at different columns."""
    context = PromptContext(torch.arange(4) < torch.tensor([[4], [2], [3]]))
    context.select(torch.tensor([2, 1]))
    assert context.last_prompt_B.tolist() == [2, 1]


def test_beams_of_one_prompt_end_where_it_ends() -> None:
    """With padding on the right, prompts end at different columns."""
    context = PromptContext(torch.arange(4) < torch.tensor([[4], [2]]))
    context.expand(2)
    assert context.last_prompt_B.tolist() == [3, 3, 1, 1]
    assert context.prompt_mask_BT.sum(1).tolist() == [4, 4, 2, 2]


def test_the_prompts_end_is_read_with_the_prompt_and_again_when_the_cache_lacks_it() -> None:
    context, cache = context_of(3, 2), Cache(length=0)
    context.enter_forward(2, 3, cache)
    assert (context.num_cached, context.reads_prompt_end) == (0, True)
    cache.length = 2
    context.enter_forward(2, 1, cache)
    assert (context.num_cached, context.reads_prompt_end) == (2, True)
    cache.length = 3
    context.enter_forward(2, 1, cache)
    assert (context.num_cached, context.reads_prompt_end) == (3, False)


def test_something_is_made_once_in_a_forward_for_each_object() -> None:
    context, cache = context_of(2), Cache(length=0)
    made: list[Any] = []

    def make() -> int:
        made.append(None)
        return len(made)

    first, second = object(), object()
    context.enter_forward(1, 2, cache)
    assert [context.once("a", given, make) for given in (first, second, first)] == [1, 2, 1]
    assert context.once("b", first, make) == 3
    cache.length = 2
    context.enter_forward(1, 1, cache)
    assert context.once("a", first, make) == 4
