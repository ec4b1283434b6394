"""Stop texts: the answer is cut before the first one, and greedy rows end early."""

from typing import Any

import pytest
import torch

from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.rules import StopTexts, cut_at_stop
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


@pytest.fixture
def adapted(tiny_backbone: Any) -> AdaptedModel:
    """A tiny Llama as it is."""
    return AdaptedModel(tiny_backbone, build_method("full_ft"))


def steps_of(adapted: AdaptedModel, **options: Any) -> tuple[str, int]:
    """Return the answer to one prompt, of 20 tokens at most, and the decoder's steps."""
    steps: list[int] = []
    handle = adapted.backbone.decoder.register_forward_hook(lambda *_: steps.append(1))
    given = {"num_beams": 1, "max_new_tokens": 20, "batch_size": 1, **options}
    (text,) = generate(adapted, PROMPTS[:1], **given)
    handle.remove()
    return text, len(steps)


def make_special(adapted: AdaptedModel, word: str) -> None:
    adapted.backbone.tokenizer.add_special_tokens({"additional_special_tokens": [word]})


@pytest.mark.parametrize("shape", ["\n{} <pad>", "{}", " {}\n"])
def test_a_template_s_control_token_ends_an_answer(adapted: AdaptedModel, shape: str) -> None:
    whole, steps = steps_of(adapted)
    words = whole.split()
    end = words[3]
    make_special(adapted, end)
    adapted.backbone.tokenizer.add_tokens(["\n"])  # as Gemma has it: white space ends nothing
    ended, fewer = steps_of(adapted, ending=shape.format(end))
    assert ended.split() == words[: words.index(end)], "what follows it is no answer"
    assert fewer < steps == 20


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_template_s_text_ends_an_answer(adapted: AdaptedModel, num_beams: int) -> None:
    whole, steps = steps_of(adapted, num_beams=num_beams)
    end = " ".join(whole.split()[3:5])
    ended, fewer = steps_of(adapted, num_beams=num_beams, ending=f"\n{end} <pad>\n")
    assert ended == whole.partition(end)[0] != whole
    assert num_beams > 1 or fewer < steps


def test_beams_end_at_a_control_token_too(adapted: AdaptedModel) -> None:
    options: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 8, "batch_size": 2}
    word = generate(adapted, PROMPTS, **options)[0].split()[1]
    make_special(adapted, word)
    ended = generate(adapted, PROMPTS, ending=word, **options)
    adapted.backbone.tokenizer.eos_token = word
    assert ended == generate(adapted, PROMPTS, **options), "as the end-of-sequence token does"
