"""Generate answers by greedy decoding or beam search, with Hugging Face Transformers' own search.

A prompt passes through the model once, not once per beam: the prompts of a batch fill a key/value
cache, its last position is dropped, cache and context are repeated for the beams, and `generate`
goes on from there by reading the last prompt token again as a first step. Padding is on the left,
position ids follow the attention mask, and a checkpoint's own generation settings (sampling,
temperature …) change nothing.

Generated text is cut before the first stop text. Under greedy decoding a row also ends once a stop text
stands in it, and leaves its batch (`greedy`), which saves time; beams run to their end. A control token
with which a chat template ends an answer ends it here too, as the end-of-sequence token does.

Legend: B examples, T tokens of the padded prompt.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    StoppingCriteriaList,
)

from pedro_bench import checks
from pedro_bench.evaluation.batches import (
    Adapted,
    by_length,
    check_positions,
    evaluating,
    padded,
    require_decoder,
)
from pedro_bench.evaluation.greedy import decode_greedily
from pedro_bench.evaluation.growing_cache import GrowingCache
from pedro_bench.evaluation.rules import NoRepeatNGrams, Numbers, StopTexts, cut_at_stop
from pedro_bench.protocols.batch import Encoded, positions_of
from pedro_bench.protocols.cache import CACHE
from pedro_bench.protocols.context import PromptContext


def generate(
    adapted: Adapted,
    prompts: Sequence[Encoded],
    *,
    num_beams: int,
    max_new_tokens: int,
    batch_size: int,
    length_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    stop: Sequence[str] = (),
    ending: str = "",
) -> list[str]:
    """Generate the answer to each prompt.

    Args:
        adapted: The adapted model; its training mode is as before afterwards.
        prompts: Encoded prompts; their answers are not looked at.
        num_beams: Beams of each prompt, at least 1; 1 is greedy decoding.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Prompts decoded together; the device needs room for `batch_size * num_beams`
            caches.
        length_penalty: As in Transformers; used with two beams or more.
        no_repeat_ngram_size: As in Transformers, the prompt included; 0 for no rule.
        stop: Texts before which an answer is cut, none empty.
        ending: What the prompts' template writes behind an answer; the answer ends before it.

    Returns:
        Generated text without special tokens, in the order of `prompts`.

    Raises:
        ConfigError: If a number is not as above.
        DataError: If a prompt and its new tokens exceed the backbone's positions.
        TrainingError: If the device runs out of memory, or a token's scores are not numbers.
    """
    checks.integer("num_beams", num_beams)
    checks.integer("max_new_tokens", max_new_tokens)
    require_decoder(adapted.backbone)
    longest = max((len(prompt.prompt_ids) for prompt in prompts), default=0)
    check_positions(adapted, longest + max_new_tokens)
    tokenizer = adapted.backbone.tokenizer
    ends, text_end = _ends(tokenizer, ending)
    stop = (*stop, text_end) if text_end else stop
    settings = _settings(tokenizer, ends, num_beams, max_new_tokens, length_penalty)
    settings.decoder_start_token_id = getattr(
        adapted.backbone.model.config, "decoder_start_token_id", None
    )
    texts = [""] * len(prompts)
    with evaluating(adapted, batch_size), without_own_settings(adapted.backbone.model):
        for rows in by_length([len(prompt.prompt_ids) for prompt in prompts], batch_size):
            chosen = [prompts[row].prompt_ids for row in rows]
            answers = _generate_batch(adapted, chosen, settings, stop, no_repeat_ngram_size)
            for row, answer in zip(rows, answers, strict=True):
                text = tokenizer.decode(
                    _until(answer, ends),
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
                texts[row] = cut_at_stop(text, stop)
    return texts


def _generate_batch(
    adapted: Adapted,
    prompts: Sequence[Sequence[int]],
    settings: GenerationConfig,
    stop: Sequence[str],
    no_repeat_ngram_size: int,
) -> list[list[int]]:
    """Return the new tokens of each prompt, end-of-sequence and padding included."""
    backbone = adapted.backbone
    if backbone.kind == "encoder_decoder":
        return _answer_batch(adapted, prompts, settings, stop, no_repeat_ngram_size)
    if settings.num_beams == 1:
        return decode_greedily(adapted, prompts, settings, stop, no_repeat_ngram_size)
    ids_BT, mask_BT = padded(prompts, int(settings.pad_token_id), left=True, device=backbone.device)
    positions_BT = positions_of(mask_BT)
    with adapted.context(mask_BT).active() as context:
        given: dict[str, Any] = {"attention_mask": mask_BT.long()}
        # A prompt of one token leaves nothing in the cache once the last position is dropped:
        # `generate` then reads the prompt itself.
        if ids_BT.shape[1] > 1:
            cache = _read_prompt(adapted, ids_BT, mask_BT, positions_BT)
            _continue_as_beams(cache, context, settings.num_beams)
            given[CACHE] = cache
            ids_BT, positions_BT = ids_BT[:, -1:], positions_BT[:, -1:]
        else:
            context.expand(settings.num_beams)
        rules = LogitsProcessorList([Numbers(adapted)])
        if no_repeat_ngram_size:
            rules.append(NoRepeatNGrams(no_repeat_ngram_size, prompts, ids_BT.shape[1]))
        output_BT = backbone.model.generate(
            input_ids=ids_BT,
            position_ids=positions_BT,
            generation_config=settings,
            logits_processor=rules,
            **given,
        )
    return output_BT[:, ids_BT.shape[1] :].tolist()  # type: ignore[no-any-return]


def _answer_batch(
    adapted: Adapted,
    prompts: Sequence[Sequence[int]],
    settings: GenerationConfig,
    stop: Sequence[str],
    no_repeat_ngram_size: int,
) -> list[list[int]]:
    """As `_generate_batch`, of an encoder-decoder: the encoder reads each prompt once, whatever the beams."""
    backbone = adapted.backbone
    rows = padded(prompts, int(settings.pad_token_id), left=False, device=backbone.device)
    ids_BT, mask_BT = backbone.prompt(*rows)
    rules = LogitsProcessorList([Numbers(adapted)])
    if no_repeat_ngram_size:
        rules.append(NoRepeatNGramLogitsProcessor(no_repeat_ngram_size))
    given: dict[str, Any] = {}
    if stop and settings.num_beams == 1:
        given["stopping_criteria"] = StoppingCriteriaList([StopTexts(backbone.tokenizer, 1, stop)])
    with adapted.context(mask_BT).active() as context:
        encoded = backbone.stacks[0](input_ids=ids_BT, attention_mask=mask_BT.long())
        if settings.num_beams > 1:
            context.expand(settings.num_beams)
        output_BT = backbone.model.generate(
            encoder_outputs=encoded,
            attention_mask=mask_BT.long(),
            generation_config=settings,
            logits_processor=rules,
            **given,
        )
    return output_BT[:, 1:].tolist()  # type: ignore[no-any-return]


def _read_prompt(
    adapted: Adapted, ids_BT: Tensor, mask_BT: Tensor, positions_BT: Tensor
) -> GrowingCache:
    """Pass each prompt through the decoder once and return the cache it fills.

    Its layers keep every position, also where the attention has a sliding window (the mask applies
    the window), so that one can be dropped again.
    """
    cache = GrowingCache()
    adapted.backbone.decoder(
        input_ids=ids_BT,
        attention_mask=mask_BT.long(),
        position_ids=positions_BT,
        use_cache=True,
        **{CACHE: cache},
    )
    return cache


def _continue_as_beams(cache: GrowingCache, context: PromptContext, num_beams: int) -> None:
    """Drop the cache's last position and repeat cache and context for the beams.

    Transformers changed the meaning of `crop`'s argument between versions, so keys and values are
    cut here. This is the only place that takes the last position of every layer to be the last
    prompt token.
    """
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[:, :, :-1], layer.values[:, :, :-1]
        layer.batch_repeat_interleave(num_beams)
    context.expand(num_beams)
    context.bind(cache)


def _ends(tokenizer: Any, ending: str) -> tuple[tuple[int, ...], str]:
    """Return the tokens that end an answer, and the text that does so where a template ends it with text."""
    names = {  # added white space, such as Gemma's newlines, is no control token (`data.text_tokens`)
        token.content: number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip()
    }
    pattern = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    found = re.search(pattern, ending) if pattern else None
    text = ending[: found.start()] if found else ending
    if text.strip() or found is None:
        return (tokenizer.eos_token_id,), text.strip()
    return tuple(dict.fromkeys((tokenizer.eos_token_id, names[found.group()]))), ""


def _settings(
    tokenizer: Any,
    ends: Sequence[int],
    num_beams: int,
    max_new_tokens: int,
    length_penalty: float,
) -> GenerationConfig:
    """Return Transformers' defaults but for what is asked, with the tokenizer's special tokens."""
    beams = {"length_penalty": length_penalty} if num_beams > 1 else {}
    return GenerationConfig(
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        use_cache=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(ends),
        pad_token_id=tokenizer.pad_token_id,
        **beams,
    )


@contextmanager
def without_own_settings(model: Any) -> Iterator[None]:
    """Set aside the settings that a checkpoint ships, which `generate` would mix into the caller's."""
    shipped = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = shipped


def _until(tokens: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return the tokens before the first that ends an answer."""
    return list(takewhile(lambda token: token not in ends, tokens))
