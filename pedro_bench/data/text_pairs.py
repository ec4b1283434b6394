"""Encoding for encoders: one text or a pair of texts between the tokenizer's own separators, and a label.

    <s> first </s></s> second </s>        RoBERTa;   [CLS] first [SEP] second [SEP]   BERT

The texts are those pieces of the task's prompt that come from the data; the task's own words around them are
for models that go on writing. Too long a pair loses tokens at the end of whichever text is the longer one.
"""

import reprlib
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from pedro_bench import checks
from pedro_bench.data.coder import EncodedRows, Packed
from pedro_bench.data.encoding import Encoding
from pedro_bench.data.prompt import PromptTemplate
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.task import Example

_MOST_TEXTS = 2


def encode_pairs(
    tokenizer: Any, examples: Sequence[Example], head: Head | None, *, max_length: int
) -> Encoding:
    """Turn examples into token ids of at most `max_length`, each with one label.

    Args:
        tokenizer: A Hugging Face tokenizer.
        examples: The examples of a split, in order.
        head: Turns an example's answer into its label; None where no example has an answer.
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
    labels = [
        array("i", [head.code(example)] if head is not None and example.answer else [])
        for example in examples
    ]
    return Encoding(EncodedRows(Packed.of(prompts), Packed.of(labels)), len(uncut), 0, uncut)


def encode_texts(
    tokenizer: Any,
    key: str,
    texts: Sequence[Any],
    templates: Sequence[PromptTemplate],
    *,
    max_lengths: Sequence[int],
) -> Sequence[Encoded]:
    """Turn texts that are to be labelled into token ids.

    Args:
        tokenizer: A Hugging Face tokenizer.
        key: What the texts are, for messages.
        texts: For each row one text, or a pair in the order of its template's fields.
        templates: Each row's prompt template, whose own words an encoder does not read.
        max_lengths: Each row's most tokens, separators included.

    Raises:
        ConfigError: If a row has not as many texts as its template has fields.
        DataError: If a row is longer than its `max_lengths`, or UTF-8 cannot encode it.
    """
    rows = [
        _fields_of(f"{key}[{row}]", given, template.fields)
        for row, (given, template) in enumerate(zip(texts, templates, strict=True))
    ]
    examples = [
        Example(template.parts(dict(zip(template.fields, own, strict=True))), "", (), "")
        for own, template in zip(rows, templates, strict=True)
    ]
    encoded = encode_pairs(tokenizer, examples, None, max_length=sys.maxsize).encoded
    for row, (one, max_length) in enumerate(zip(encoded, max_lengths, strict=True)):
        if len(one) > max_length:
            raise DataError(
                f"{key}[{row}] must fit into {max_length} tokens, got {len(one)}: shorten it; it begins "
                f"{rows[row][0][:60]!r}."
            )
    return encoded


def _fields_of(key: str, given: Any, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the texts of one row, as many as the task's prompt has fields; raises as `encode_texts`."""
    found = (given,) if isinstance(given, str) else given
    is_right = isinstance(found, list | tuple) and len(found) == len(fields)
    if not is_right or not all(isinstance(one, str) for one in found):
        rule = "a text" if len(fields) == 1 else f"a tuple of {len(fields)} texts"
        raise ConfigError(f"{key} must be {rule} ({', '.join(fields)}), got {reprlib.repr(given)}.")
    for one in found:
        checks.encodable_text(key, one, DataError)
    return tuple(found)


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
