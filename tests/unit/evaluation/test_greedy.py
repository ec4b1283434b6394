"""Greedy decoding without the rows that have ended: the same texts, in fewer rows."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.greedy import Pause, _may_lose_rows
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.tiny import build_method, save_tiny

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
    monkeypatch.setattr(type(adapted.backbone.model), "_is_stateful", True)
    (call,) = calls_of_generate(adapted, monkeypatch)
    assert "past_key_values" not in call


def calls_of_generate(adapted: AdaptedModel, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the arguments of each call for a batch whose rows end at different places."""
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": NEW_TOKENS, "batch_size": 8}
    whole = generate(adapted, prompts(), **options)
    calls: list[Any] = []
    real: Callable[..., Any] = adapted.backbone.model.generate

    def counted(**given: Any) -> Any:
        calls.append(given)
        return real(**given)

    monkeypatch.setattr(adapted.backbone.model, "generate", counted)
    stop = sorted({words[:2][-1] for words in map(str.split, whole) if words})[:4]
    lengths = [len(text.split()) for text in generate(adapted, prompts(), stop=stop, **options)]
    assert sum(length < NEW_TOKENS - 1 for length in lengths) >= 4
    return calls


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
DEFAULT = {"rope_type": "default", "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("family", "changes", "is_one_call"),
    [
        ("llama", {"rope_parameters": DEFAULT}, False),
        ("llama", {"rope_parameters": DYNAMIC}, True),
        (
            "phi3",
            {
                "original_max_position_embeddings": 64,
                "rope_parameters": {
                    **LONG,
                    "rope_theta": 10_000.0,
                    "original_max_position_embeddings": 64,
                },
            },
            True,
        ),
        (
            "gemma",
            {
                "model_type": "gemma3_text",
                "layer_types": ["sliding_attention", "full_attention"],
                "rope_parameters": {"sliding_attention": DEFAULT, "full_attention": DYNAMIC},
            },
            True,
        ),
    ],
)
def test_angles_that_depend_on_the_longest_row_keep_it_in_the_batch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    changes: dict[str, Any],
    is_one_call: bool,
) -> None:
    """Without it the others' angles would change in the middle of their texts."""
    path = str(save_tiny(tmp_path, family, **changes))
    backbone = Pretrained(name="tiny", label="tiny", path=path).load(device="cpu")
    calls = calls_of_generate(adapt(backbone, "lora"), monkeypatch)
    assert (len(calls) == 1) is is_one_call


@pytest.mark.parametrize(
    ("family", "layer_types", "expected"),
    [
        ("lfm2", ["full_attention", "conv"], False),
        ("qwen3_next", ["linear_attention", "full_attention"], False),
        ("gemma3_text", ["sliding_attention", "full_attention"], True),
    ],
)
def test_what_layers_keep_is_seen_in_the_configuration(
    family: str, layer_types: list[str], expected: bool
) -> None:
    config = AutoConfig.for_model(
        family, num_hidden_layers=2, layer_types=layer_types, sliding_window=4
    )
    assert _may_lose_rows(SimpleNamespace(config=config)) is expected


def test_a_row_stays_ended_by_whichever_token() -> None:
    cache: Any = SimpleNamespace(get_seq_length=lambda: 2)
    pause = Pause(torch.zeros(3, 0, dtype=torch.long), [2, 9], None, cache)
    tokens_BT = torch.tensor([[5, 9], [5, 6], [5, 6]])
    assert pause(tokens_BT, None).tolist() == [True, False, False]
    tokens_BT = torch.cat([tokens_BT, torch.tensor([[0], [2], [7]])], dim=1)
    assert pause(tokens_BT, None).tolist() == [True, True, True]
    assert pause.done_B.tolist() == [True, True, False]


def test_a_token_behind_a_pause_ends_no_row() -> None:
    """On some devices Transformers computes one more, of padding, before it reads that all have ended."""
    cache: Any = SimpleNamespace(get_seq_length=lambda: 3)
    pause = Pause(torch.zeros(2, 0, dtype=torch.long), [2], None, cache)
    tokens_BT = torch.tensor([[5, 6, 7, 2], [5, 6, 7, 8]])
    assert pause(tokens_BT, None).tolist() == [True, True]
    padding_B1 = torch.tensor([[2], [2]])  # the token that ends texts is often the padding too
    assert pause(torch.cat([tokens_BT, padding_B1], 1), None).tolist() == [True, True]
    assert pause.done_B.tolist() == [True, False]


def test_a_cache_that_the_model_does_not_go_on_from_lets_nothing_pause() -> None:
    cache: Any = SimpleNamespace(get_seq_length=lambda: 0)
    pause = Pause(torch.zeros(2, 0, dtype=torch.long), [2], None, cache)
    assert pause(torch.tensor([[5, 2], [5, 8]]), None).tolist() == [True, False]
