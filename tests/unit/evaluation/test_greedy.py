"""Greedy decoding without the rows that have ended: the same texts, in fewer rows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.tiny import build_method

NEW_TOKENS = 24
LENGTHS = (9, 3, 12, 1, 6, 7, 2, 5)


def prompts() -> list[Encoded]:
    generator = torch.Generator().manual_seed(3)
    return [
        Encoded(tuple(torch.randint(4, 35, (length,), generator=generator).tolist()), (), number)
        for number, length in enumerate(LENGTHS)
    ]


def adapt(backbone: Any, name: str) -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(backbone, build_method(name))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in adapted.adapter.parameters():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return adapted


def rows_of_forwards(backbone: Any) -> tuple[list[int], Any]:
    rows: list[int] = []

    def seen(module: Any, arguments: Any, options: Any) -> None:
        rows.append(len(options["input_ids"] if "input_ids" in options else arguments[0]))

    return rows, backbone.model.register_forward_pre_hook(seen, with_kwargs=True)


@pytest.mark.parametrize("no_repeat_ngram_size", [0, 2])
@pytest.mark.parametrize(
    "name", ["pedro", "lora", "prefix_tuning", "prompt_tuning", "ssp", "loreft", "lpt"]
)
def test_each_text_is_that_of_its_prompt_alone(
    tiny_backbone: Any, name: str, no_repeat_ngram_size: int
) -> None:
    adapted = adapt(tiny_backbone, name)
    options = {
        "num_beams": 1,
        "max_new_tokens": NEW_TOKENS,
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    whole = [generate(adapted, [one], batch_size=1, **options)[0] for one in prompts()]
    # Words that end the rows at different places.
    words = [text.split() for text in whole]
    stops = sorted({own[min(3 * row, len(own) - 1)] for row, own in enumerate(words) if own})[:3]
    alone = [generate(adapted, [one], batch_size=1, stop=stops, **options)[0] for one in prompts()]
    assert len({len(text.split()) for text in alone}) > 2, "the rows must end at different places"
    rows, handle = rows_of_forwards(adapted.backbone)
    together = generate(adapted, prompts(), batch_size=len(LENGTHS), stop=stops, **options)
    handle.remove()
    assert together == alone
    assert rows[0] == len(LENGTHS) > rows[-1]
    assert rows == sorted(rows, reverse=True)


def test_a_stop_text_may_begin_before_a_pause(tiny_backbone: Any) -> None:
    """Its first word is the last token of one call, its second the first of the next."""
    adapted = adapt(tiny_backbone, "lora")
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": NEW_TOKENS, "batch_size": 2}
    texts = generate(adapted, prompts()[:2], **options)
    first, second = (text.split() for text in texts)
    for at in range(1, 8):
        # Row 0 ends with its token `at`: the call pauses there, behind the same token of row 1.
        stops = [" ".join(first[at - 1 : at + 1]), " ".join(second[at : at + 2])]
        expected = [generate(adapted, [one], stop=stops, **options)[0] for one in prompts()[:2]]
        assert generate(adapted, prompts()[:2], stop=stops, **options) == expected


def test_a_model_that_keeps_more_than_keys_and_values_is_decoded_in_one_call(
    tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = adapt(tiny_backbone, "lora")
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": NEW_TOKENS, "batch_size": 8}
    expected = generate(adapted, prompts(), **options)
    monkeypatch.setattr(type(adapted.backbone.model), "_is_stateful", True)
    calls: list[Any] = []
    real: Callable[..., Any] = adapted.backbone.model.generate

    def counted(**given: Any) -> Any:
        calls.append(given)
        return real(**given)

    monkeypatch.setattr(adapted.backbone.model, "generate", counted)
    stop = [expected[0].split()[1]]
    generate(adapted, prompts(), stop=stop, **options)
    assert len(calls) == 1
    assert "past_key_values" not in calls[0]
