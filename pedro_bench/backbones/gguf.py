"""GGUF files: whether one is whole, and what identifies it; no weight is read and torch not imported.

A GGUF file (llama.cpp's format) holds settings, tokenizer and weights, these mostly in blocks of a few
bits. The file's hash is the identity of the backbone; `dequantising` makes float32 weights of it.

Layout, little endian: `GGUF`, version (u32), number of tensors and of settings (u64 each); the settings
(name, type, value); of each tensor name, dimensions, type and place; padding; the data.
"""

import mmap
import struct
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.errors import BackboneError

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
READ_AS = "gguf"
"""Word of an identity: the weights are those of a GGUF file, dequantised to float32."""

_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Type of a setting -> its form, in the letters of `struct`."""

_ALIGNMENT = 32
_MOST_DIMENSIONS = 8


def is_gguf(file: Path) -> bool:
    """Return whether a file is meant as GGUF: by its ending, or by its first bytes."""
    if not file.is_file():
        return False
    if file.suffix.lower() == SUFFIX:
        return True
    with file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def check_file(file: Path) -> None:
    """Require a whole GGUF file, and the package that reads such files.

    Raises:
        BackboneError: If the extra is missing, the file is no GGUF, of a version that is not read, one of
            several pieces, or shorter than its header says.
    """
    if find_spec("gguf") is None:
        raise BackboneError(
            f"backbone.path={str(file)!r} must be read by the extra gguf, got none installed: "
            "pip install 'pedro_bench[gguf]'."
        )
    _check(str(file.resolve()), files.stamp(file))


@lru_cache(maxsize=64)
def _check(file: str, stamp: tuple[int, int]) -> None:
    """Check one file; its stamp lets a changed file be checked again."""
    size, _ = stamp
    with Path(file).open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise BackboneError(
                f"backbone.path must be a GGUF file where it ends in {SUFFIX}, got {file!r}, which does "
                "not begin with GGUF: download it again, or give a folder of safetensors weights."
            )
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                expected = _Header(content, file).end
            except (struct.error, IndexError, OverflowError, ValueError) as error:
                raise _cut(file, "more bytes for its header", size) from error
    if size < expected:
        raise _cut(file, f"{expected} bytes as its header says", size)


def _cut(file: str, rule: str, size: int) -> BackboneError:
    return BackboneError(
        f"{file} must have {rule}, got {size}: the file is damaged or cut, download it again."
    )


class _Header:
    """Walks over a header; `end` is where the data of the last tensor ends."""

    def __init__(self, content: mmap.mmap, file: str) -> None:
        self._content, self._file, self._at = content, file, len(MAGIC)
        version = self._number("I")
        if version not in VERSIONS:
            raise BackboneError(
                f"{file} must be GGUF of version {' or '.join(map(str, VERSIONS))}, little endian, got "
                f"{version}: convert the model again with a present llama.cpp."
            )
        num_tensors, num_settings = self._number("Q"), self._number("Q")
        settings = dict(self._setting() for _ in range(num_settings))
        if int(settings.get("split.count") or 1) > 1:
            raise BackboneError(
                f"backbone.path must be one whole GGUF file, got {file!r}, one of "
                f"{settings['split.count']} pieces: join them with llama-gguf-split --merge."
            )
        ends = [self._tensor_end() for _ in range(num_tensors)]
        alignment = int(settings.get("general.alignment") or _ALIGNMENT)
        self.end = -(-self._at // alignment) * alignment + max(ends, default=0)

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self._content, self._at)
        self._at += struct.calcsize(f"<{form}")
        return value

    def _text(self) -> str:
        length = self._number("Q")
        start, self._at = self._at, self._at + length
        if self._at > len(self._content):
            raise IndexError(length)
        return self._content[start : self._at].decode("utf-8", "replace")

    def _setting(self) -> tuple[str, Any]:
        name = self._text()
        return name, self._value(self._number("I"))

    def _value(self, kind: int) -> Any:
        """Return a number or text; of a list nothing, but walk over it."""
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind] if kind in _NUMBERS else self._unknown(kind))
        items, count = self._number("I"), self._number("Q")
        if items in _NUMBERS:
            self._at += count * struct.calcsize(f"<{_NUMBERS[items]}")
        else:
            for _ in range(count):
                self._value(items)
        return None

    def _unknown(self, kind: int) -> str:
        raise ValueError(kind)

    def _tensor_end(self) -> int:
        """Return where a tensor's bytes end, counted from the first byte of the data."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, num_dimensions = self._text(), self._number("I")
        if num_dimensions > _MOST_DIMENSIONS:
            raise ValueError(num_dimensions)
        entries: int = prod(self._number("Q") for _ in range(num_dimensions))
        kind, offset = self._number("I"), int(self._number("Q"))
        try:
            per_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError) as error:
            raise BackboneError(
                f"the tensors of {self._file} must have types that the installed package gguf knows, "
                f"got type {kind} for {name}: install a newer one, or give another file."
            ) from error
        return offset + -(-entries // int(per_block)) * int(block_bytes)
