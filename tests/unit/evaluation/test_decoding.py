"""Decoding: one pass per prompt gives what Transformers' own generate gives; neighbours change
nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import ConfigError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.method import Injection, Method, ParameterCount
from pedro_bench.runs.forgetting import Unchanged
from tests.unit.evaluation.bare import adapt

LENGTHS = (5, 2, 9, 1, 7, 3, 12)
NEW_TOKENS = 6


class LastTokenScale(Method):
    """Scales the queries by numbers made from the last prompt token, once per prompt, as PEDRO
    does."""

    def count(self, shape: BackboneShape) -> ParameterCount:
        return ParameterCount(0, 0)

    def attach(self, injection: Injection) -> None:
        from pedro_bench.protocols.context import current_context

        for site in injection.sites(("value",)):

            def change(
                inputs_BTD: torch.Tensor, outputs_BTD: torch.Tensor, name: str = site.path
            ) -> torch.Tensor:
                context = current_context()
                if context.stage == "prompt":
                    rows_B = torch.arange(inputs_BTD.shape[0])
                    last_BD = inputs_BTD[rows_B, context.last_prompt_B]
                    context.state[name] = 1.0 + last_BD[:, : outputs_BTD.shape[-1]].tanh()
                return outputs_BTD * context.state[name][:, None]

            injection.on_output(site, change)


def make_prompts(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Encoded(tuple(torch.randint(4, 35, (n,), generator=generator).tolist()), (), index)
        for index, n in enumerate(lengths)
    ]


def plain_generate(backbone: Any, prompt: Encoded, num_beams: int, **options: Any) -> str:
    """Transformers' own generate on one prompt without padding or a prepared cache."""
    output = backbone.model.generate(
        input_ids=torch.tensor([prompt.prompt_ids]),
        attention_mask=torch.ones(1, len(prompt.prompt_ids), dtype=torch.long),
        num_beams=num_beams,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=0,
        **options,
    )
    new = output[0, len(prompt.prompt_ids) :].tolist()
    new = new[: new.index(2)] if 2 in new else new
    return str(backbone.tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("num_beams", [1, 2, 3])
def test_equals_transformers_generate_on_each_prompt_alone(
    load_tiny: Callable[..., Any], family: str, num_beams: int
) -> None:
    backbone, prompts = load_tiny(family), make_prompts()
    expected = [plain_generate(backbone, prompt, num_beams) for prompt in prompts]
    assert len(set(expected)) > 3, "the texts must differ, or the test could not fail"
    adapted = adapt(backbone)
    texts = generate(adapted, prompts, num_beams=num_beams, max_new_tokens=NEW_TOKENS, batch_size=4)
    assert texts == expected


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "qwen2"])
def test_sliding_windows_and_biases(
    tiny_folders: dict[str, Path], tmp_path: Path, family: str
) -> None:
    """Prompts longer than the attention's window: nothing that a layer still needs is dropped."""
    layers = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    options: dict[str, Any] = layers if family == "gemma3_text" else {}
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **options,
    )
    torch.manual_seed(1)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    backbone = Pretrained(
        name="windows",
        label="windows",
        path=str(tmp_path),
        tokenizer_path=str(tiny_folders["llama"]),
    ).load(device="cpu")
    prompts = make_prompts()
    for num_beams in (1, 3):
        expected = [plain_generate(backbone, prompt, num_beams) for prompt in prompts]
        adapted = adapt(backbone)
        texts = generate(
            adapted, prompts, num_beams=num_beams, max_new_tokens=NEW_TOKENS, batch_size=4
        )
        adapted.remove()
        assert texts == expected
    assert len(set(expected)) > 3


def test_length_penalty_is_passed_on(load_tiny: Callable[..., Any]) -> None:
    backbone, prompts = load_tiny(), make_prompts()
    with_bias_to_end(backbone)
    texts = {}
    for penalty in (-3.0, 3.0):
        expected = [plain_generate(backbone, p, 3, length_penalty=penalty) for p in prompts]
        adapted = adapt(backbone)
        texts[penalty] = generate(
            adapted,
            prompts,
            num_beams=3,
            max_new_tokens=NEW_TOKENS,
            batch_size=3,
            length_penalty=penalty,
        )
        adapted.remove()
        assert texts[penalty] == expected
    assert texts[-3.0] != texts[3.0]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_ngrams_of_prompt_and_answer_come_once_as_in_transformers(
    load_tiny: Callable[..., Any], num_beams: int, size: int
) -> None:
    """Each prompt alone in Transformers' generate; here padded, cached, and with its beams."""
    backbone = load_tiny()
    prompts = make_prompts()
    ruled = [plain_generate(backbone, p, num_beams, no_repeat_ngram_size=size) for p in prompts]
    free = [plain_generate(backbone, p, num_beams) for p in prompts]
    # What the rule bans may stand in the prompt alone, which `generate` with beams does not see.
    echoes = [
        Encoded((*p.prompt_ids, *_ids(backbone, text)), (), p.index)
        for p, text in zip(prompts, free, strict=True)
    ]
    ruled += [plain_generate(backbone, p, num_beams, no_repeat_ngram_size=size) for p in echoes]
    free += [plain_generate(backbone, p, num_beams) for p in echoes]
    assert ruled != free
    options = {"num_beams": num_beams, "max_new_tokens": NEW_TOKENS, "no_repeat_ngram_size": size}
    adapted = adapt(backbone)
    for batch_size in (1, 4):
        assert generate(adapted, prompts + echoes, batch_size=batch_size, **options) == ruled


def _ids(backbone: Any, text: str) -> list[int]:
    return list(backbone.tokenizer(text, add_special_tokens=False).input_ids)


def with_bias_to_end(backbone: Any) -> None:
    """Make the end-of-sequence token likely enough that answers have many lengths."""
    head = backbone.model.get_output_embeddings()
    with torch.no_grad():
        head.weight[2] *= 3.0


@pytest.mark.parametrize("kind", [Unchanged, LastTokenScale])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_neighbours_order_and_batch_size_change_nothing(
    tiny_backbone: Any, kind: type[Method], num_beams: int
) -> None:
    prompts = make_prompts()
    adapted = adapt(tiny_backbone, kind)

    def run(chosen: list[Encoded], batch_size: int) -> list[str]:
        return generate(
            adapted,
            chosen,
            num_beams=num_beams,
            max_new_tokens=NEW_TOKENS,
            batch_size=batch_size,
        )

    alone = [run([prompt], 1)[0] for prompt in prompts]
    assert run(prompts, 3) == alone
    assert run(prompts[::-1], 7) == alone[::-1]


def test_each_prompt_passes_through_the_model_once(tiny_backbone: Any) -> None:
    shapes: list[tuple[int, ...]] = []
    positions: list[list[list[int]]] = []

    def note(module: nn.Module, args: Any, kwargs: Any) -> None:
        shapes.append(tuple(kwargs["input_ids"].shape))
        positions.append(kwargs["position_ids"].tolist())

    tiny_backbone.decoder.register_forward_pre_hook(note, with_kwargs=True)
    generate(
        adapt(tiny_backbone),
        make_prompts((6, 4)),
        num_beams=3,
        max_new_tokens=NEW_TOKENS,
        batch_size=2,
    )
    assert shapes[0] == (2, 6)
    assert set(shapes[1:]) == {(6, 1)}
    assert 2 <= len(shapes) <= 1 + NEW_TOKENS
    assert positions[0] == [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]]
    assert positions[1] == [[5]] * 3 + [[3]] * 3
    assert positions[2] == [[6]] * 3 + [[4]] * 3


def test_generated_scores_equal_the_loglikelihood_of_the_text(tiny_backbone: Any) -> None:
    """Left padding in decoding and right padding in scoring see the same model."""
    adapted = adapt(tiny_backbone, LastTokenScale)
    prompts = make_prompts((3, 8, 5))
    pairs, sums = [], []
    for prompt in prompts:
        ids = torch.tensor([[0, 0, *prompt.prompt_ids]])
        mask = torch.tensor([[0, 0] + [1] * len(prompt.prompt_ids)])
        with adapted.context(mask.bool()).active():
            output = tiny_backbone.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=4,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
        new = output.sequences[0, ids.shape[1] :].tolist()
        steps = torch.stack(output.logits)[:, 0].log_softmax(-1)
        sums.append(float(steps[range(len(new)), new].sum()))
        pairs.append(Encoded(prompt.prompt_ids, tuple(new), prompt.index))
    assert loglikelihood(adapted, pairs, batch_size=3) == pytest.approx(sums, abs=1e-4)


def test_beam_search_prefers_what_has_the_higher_likelihood(tiny_backbone: Any) -> None:
    """Each beam text scores at least as well as the greedy one (all of full length here)."""
    adapted = adapt(tiny_backbone, LastTokenScale)
    prompts = make_prompts((4, 6, 9, 11))
    tokenizer = tiny_backbone.tokenizer
    scores = {}
    for num_beams in (1, 64):
        texts = generate(adapted, prompts, num_beams=num_beams, max_new_tokens=2, batch_size=4)
        ids = [tokenizer.convert_tokens_to_ids(text.split()) for text in texts]
        pairs = [
            Encoded(p.prompt_ids, tuple(i), p.index) for p, i in zip(prompts, ids, strict=True)
        ]
        full = [pair for pair in pairs if len(pair.answer_ids) == 2]
        scores[num_beams] = {
            pair.index: s
            for pair, s in zip(full, loglikelihood(adapted, full, batch_size=4), strict=True)
        }
    shared = scores[1].keys() & scores[64].keys()
    assert shared
    assert all(scores[64][i] >= scores[1][i] - 1e-4 for i in shared)


def test_a_checkpoints_own_generation_settings_change_nothing(tiny_backbone: Any) -> None:
    prompts = make_prompts()
    options = {"num_beams": 2, "max_new_tokens": NEW_TOKENS, "batch_size": 4}
    adapted = adapt(tiny_backbone)
    expected = generate(adapted, prompts, **options)
    shipped = tiny_backbone.model.generation_config
    shipped.update(
        do_sample=True,
        temperature=5.0,
        top_k=3,
        repetition_penalty=9.0,
        max_length=3,
        bad_words_ids=[[5]],
        eos_token_id=[2, 7, 8, 9],
        num_return_sequences=2,
    )
    assert generate(adapted, prompts, **options) == expected
    assert tiny_backbone.model.generation_config is shipped


def test_training_mode_is_restored(tiny_backbone: Any) -> None:
    adapted = adapt(tiny_backbone)
    dropout = nn.Dropout()
    adapted.add_module("extra", dropout)
    adapted.train()
    tiny_backbone.model.eval()
    generate(adapted, make_prompts(), num_beams=1, max_new_tokens=2, batch_size=3)
    assert dropout.training
    assert not tiny_backbone.model.training


def test_text_ends_at_the_end_of_sequence_token(tiny_backbone: Any) -> None:
    """With a head that always says `</s>`, the text is empty; no padding leaks into it."""

    class AlwaysEnd(nn.Module):
        def __init__(self, head: nn.Module) -> None:
            super().__init__()
            self.weight = head.weight

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            logits = hidden.new_zeros(*hidden.shape[:-1], self.weight.shape[0])
            logits[..., 2] = 5.0
            return logits

    tiny_backbone.model.lm_head = AlwaysEnd(tiny_backbone.model.lm_head)
    texts = generate(
        adapt(tiny_backbone), make_prompts(), num_beams=3, max_new_tokens=4, batch_size=7
    )
    assert texts == [""] * len(LENGTHS)


@pytest.mark.parametrize("key", ["num_beams", "max_new_tokens", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0])
def test_numbers_below_one_are_refused(key: str, value: Any, tiny_backbone: Any) -> None:
    options = {"num_beams": 1, "max_new_tokens": 2, "batch_size": 2, key: value}
    with pytest.raises(
        ConfigError, match=f"^{key} must be a whole number of at least 1, got {value}"
    ):
        generate(adapt(tiny_backbone), make_prompts(), **options)


def test_no_prompts_give_no_texts(tiny_backbone: Any) -> None:
    assert generate(adapt(tiny_backbone), [], num_beams=3, max_new_tokens=4, batch_size=2) == []
