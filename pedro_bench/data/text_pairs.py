"""Encoding for encoders: one text or a pair of texts between the tokenizer's own separators, and a label.

    <s> first </s></s> second </s>        RoBERTa;   [CLS] first [SEP] second [SEP]   BERT

The texts are those pieces of the task's prompt that come from the data; the task's own words around them are
for models that go on writing. Too long a pair loses tokens at the end of whichever text is the longer one.
"""

from array import array
from collections.abc import Sequence
from typing import Any

from pedro_bench.data.coder import EncodedRows, Packed
from pedro_bench.data.encoding import Encoding
from pedro_bench.errors import DataError
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.task import Example

_MOST_TEXTS = 2


def encode_pairs(
    tokenizer: Any, examples: Sequence[Example], head: Head, *, max_length: int
) -> Encoding:
    """Turn examples into token ids of at most `max_length`, each with one label.

    Args:
        tokenizer: A Hugging Face tokenizer.
        examples: The examples of a split, in order.
        head: Turns an example's answer into its label.
        max_length: Most tokens of an example, separators included.

    Raises:
        DataError: If an example has no text or more than two.
    """
    texts = [_texts(row, example) for row, example in enumerate(examples)]
    prompts, uncut = [], {}
    for row, own in enumerate(texts):
        whole = _ids(tokenizer, own)
        if len(whole) > max_length:
            uncut[row] = len(whole)
            whole = _ids(tokenizer, own, truncation=True, max_length=max_length)
        prompts.append(array("i", whole))
    labels = [array("i", [head.code(example)] if example.answer else []) for example in examples]
    return Encoding(EncodedRows(Packed.of(prompts), Packed.of(labels)), len(uncut), 0, uncut)


def _ids(tokenizer: Any, texts: Sequence[str], **limits: Any) -> list[int]:
    """Tokenise one example; what looks like a control token in it is text."""
    ids: list[int] = tokenizer(*texts, split_special_tokens=True, **limits)["input_ids"]
    return ids


def _texts(row: int, example: Example) -> list[str]:
    found = [part.text for part in example.parts if not part.is_template]
    if not 1 <= len(found) <= _MOST_TEXTS:
        raise DataError(
            f"row {row} must have one text or two for an encoder, got {len(found)}: its tokenizer puts "
            "at most two together."
        )
    return found
