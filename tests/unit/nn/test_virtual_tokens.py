"""Methods with virtual tokens under a sliding window: decoding with a cache equals whole sequences."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.tiny import build_method, make_tokenizer

WINDOW = 4
NEW_TOKENS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Mistral whose window is shorter than most prompts."""
    from transformers import MistralConfig, MistralForCausalLM

    folder = tmp_path_factory.mktemp("mistral")
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=WINDOW,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def greedy(adapted: AdaptedModel, prompt: list[int]) -> str:
    made: list[int] = []
    while len(made) < NEW_TOKENS and 2 not in made:
        ids = torch.tensor([prompt + made])
        is_prompt = torch.arange(ids.shape[1])[None] < len(prompt)
        with torch.no_grad(), adapted.context(is_prompt).active():
            logits = adapted.model(input_ids=ids, use_cache=False).logits
        made.append(int(logits[0, -1].argmax()))
    return str(adapted.backbone.tokenizer.decode(made, skip_special_tokens=True))


@pytest.mark.parametrize("name", ["ptuning_v2", "prompt_tuning", "infix_tuning", "lpt"])
def test_a_sliding_window_moves_over_the_text_alone(name: str, folder: Path) -> None:
    backbone: Any = Pretrained(name="mistral", label="mistral", path=str(folder)).load(device="cpu")
    torch.manual_seed(1)
    adapted = AdaptedModel(backbone, build_method(name, num_virtual_tokens=5)).eval()
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    rows = [(1, *range(5, 5 + length)) for length in (6, 1, 9, 12)]
    prompts = [Encoded(row, (), index) for index, row in enumerate(rows)]
    options = {"max_new_tokens": NEW_TOKENS, "batch_size": 4}
    expected = [greedy(adapted, list(row)) for row in rows]
    assert generate(adapted, prompts, num_beams=1, **options) == expected
    together = generate(adapted, prompts, num_beams=3, **options)
    alone = [generate(adapted, [prompt], num_beams=3, **options)[0] for prompt in prompts]
    assert together == alone
