"""Encoded splits kept on disk, so that the next run of a task does not tokenise it again.

The file's name is a SHA-256 of everything that decides its content: the tokenizer as it is, the
text of every part of every example and its answers, the limits, and the code that encodes. So a
changed file, template, tokenizer or program never finds an old entry. Entries are safetensors
(nothing is unpickled), written beside and renamed, and carry a SHA-256 of their content: a damaged
one is made again. Removing the folder is always safe.
"""

import contextlib
import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pedro_bench.data import coder, encoding, text_tokens
from pedro_bench.data.coder import EncodedRows, Ids, Packed
from pedro_bench.data.encoding import Encoding, encode
from pedro_bench.errors import RecordError
from pedro_bench.files import write_whole
from pedro_bench.protocols.task import Example

_COUNTS = ("truncated", "lost_answers", "cut_answers", "misread")
_TYPECODES = {"uint16": "H", "int32": "i"}
_PARTS = ("prompts", "prompt_lengths", "answers", "answer_lengths", "uncut")


@dataclass(frozen=True)
class Limits:
    """How examples are encoded; see `encode`."""

    max_length: int
    with_answers: bool
    max_new_tokens: int = 0


def encode_cached(
    tokenizer: Any, examples: Sequence[Example], limits: Limits, folder: Path
) -> Encoding:
    """Encode examples as `encode` does, or read what an earlier call kept in a folder.

    Args:
        tokenizer: A Hugging Face tokenizer; what slow ones give is not kept.
        examples: The examples of a split, in order.
        limits: Lengths and whether answers are appended.
        folder: Folder of entries; a read-only or full one only means that nothing is kept.
    """
    if not tokenizer.is_fast:
        return _encode(tokenizer, examples, limits)
    path = folder / f"{key_of(tokenizer, examples, limits)}.safetensors"
    found = _read(path)
    if found is None:
        found = _encode(tokenizer, examples, limits)
        _write(path, found)
    return found


def key_of(tokenizer: Any, examples: Sequence[Example], limits: Limits) -> str:
    """Return the hash of everything that decides the encoding of the examples."""
    digest = hashlib.sha256(_code().encode())
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    digest.update(backend.to_str().encode())
    # What is a control token is not in the backend alone (`text_tokens.TextTokens`).
    special = (tokenizer.eos_token_id, tokenizer.all_special_tokens, tokenizer.chat_template)
    digest.update(f"{special} {limits}".encode())
    for one in examples:
        parts = [[part.text, part.can_shrink, part.is_template] for part in one.parts]
        line = json.dumps(
            [
                *(parts, one.answer, one.golds if one.extractive else None, one.open_ended),
                *(one.joint, one.ending),
            ]
        )
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    texts = (Path(str(module.__file__)).read_bytes() for module in (coder, encoding, text_tokens))
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _encode(tokenizer: Any, examples: Sequence[Example], limits: Limits) -> Encoding:
    return encode(
        tokenizer,
        examples,
        max_length=limits.max_length,
        with_answers=limits.with_answers,
        max_new_tokens=limits.max_new_tokens,
    )


def _read(path: Path) -> Encoding | None:
    """Return an entry, or None where there is none or it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stored:
            facts = json.loads(stored.metadata()["facts"])
            tables = {name: _array(stored.get_tensor(name)) for name in _PARTS}
        if _digest(tables, facts) != facts["sha256"]:
            return None
        uncut = tables["uncut"]
        return Encoding(
            EncodedRows(
                Packed(tables["prompts"], tables["prompt_lengths"]),
                Packed(tables["answers"], tables["answer_lengths"]),
            ),
            uncut=dict(zip(uncut[::2], uncut[1::2], strict=True)),
            **{name: int(facts[name]) for name in _COUNTS},
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _write(path: Path, found: Encoding) -> None:
    """Keep an entry, whole or not at all."""
    rows = found.encoded
    if not isinstance(rows, EncodedRows):
        return
    tables: dict[str, Ids] = {
        "prompts": rows.prompts.ids,
        "prompt_lengths": rows.prompts.lengths,
        "answers": rows.answers.ids,
        "answer_lengths": rows.answers.lengths,
        "uncut": array("i", [n for pair in found.uncut.items() for n in pair]),
    }
    facts: dict[str, Any] = {name: getattr(found, name) for name in _COUNTS}
    facts["sha256"] = _digest(tables, facts)

    def save(place: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        tensors = {name: _tensor(table) for name, table in tables.items()}
        try:
            save_file(tensors, place, metadata={"facts": json.dumps(facts)})
        except SafetensorError as error:  # a full disk is reported in the library's own words
            raise OSError(str(error)) from error

    with contextlib.suppress(RecordError):
        write_whole(path, save)


def _array(tensor: Any) -> Ids:
    """Return a stored table as an array: two bytes a token where it was kept so."""
    found = array(_TYPECODES[tensor.dtype.name])
    found.frombytes(tensor.data.cast("B") if tensor.size else b"")
    return found


def _tensor(table: Ids) -> Any:
    import numpy

    return numpy.frombuffer(table, dtype=table.typecode)


def _digest(tables: dict[str, Ids], facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([facts[name] for name in _COUNTS]).encode())
    for name in _PARTS:
        digest.update(f"{name} {tables[name].typecode}".encode())
        digest.update(tables[name])
    return digest.hexdigest()
