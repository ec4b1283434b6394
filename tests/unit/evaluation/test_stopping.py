"""Stop texts: the answer is cut before the first one, and greedy rows end early."""

from typing import Any

import pytest
import torch

from pedro_bench.evaluation.decoding import StopTexts, cut_at_stop, generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.tiny import build_method, make_tokenizer

PROMPTS = [Encoded((1, *range(4, 4 + length)), (), length) for length in (3, 7, 5)]


def test_the_first_stop_text_counts() -> None:
    assert cut_at_stop("so it is. Q: and", ("Q", ". ")) == "so it is"
    assert cut_at_stop("so it is", ("Q",)) == "so it is"
    assert cut_at_stop("so it is", ()) == "so it is"


def test_the_prompt_is_not_searched() -> None:
    tokenizer = make_tokenizer()
    cat, dog = tokenizer.convert_tokens_to_ids(["cat", "dog"])
    ending = StopTexts(tokenizer, 2, ("cat",))
    rows = torch.tensor([[1, cat, dog, dog], [1, cat, dog, cat]])
    assert ending(rows, None).tolist() == [False, True]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generated_answers_are_those_without_stops_but_cut(
    tiny_backbone: Any, num_beams: int
) -> None:
    adapted = AdaptedModel(tiny_backbone, build_method("full_ft"))
    options = {"num_beams": num_beams, "max_new_tokens": 8, "batch_size": 2}
    whole = generate(adapted, PROMPTS, **options)
    stops = (whole[0].split()[-1], whole[1].split()[0])
    expected = [cut_at_stop(text, stops) for text in whole]
    assert expected != whole
    assert generate(adapted, PROMPTS, stop=stops, **options) == expected


def test_greedy_rows_end_once_a_stop_stands_in_them(tiny_backbone: Any) -> None:
    adapted = AdaptedModel(tiny_backbone, build_method("full_ft"))
    steps: list[int] = []
    handle = tiny_backbone.decoder.register_forward_hook(lambda *_: steps.append(1))
    whole = generate(adapted, PROMPTS[:1], num_beams=1, max_new_tokens=20, batch_size=1)[0]
    full = len(steps)
    generate(
        adapted, PROMPTS[:1], num_beams=1, max_new_tokens=20, batch_size=1, stop=(whole.split()[2],)
    )
    handle.remove()
    assert full == 20
    assert len(steps) - full <= 3
