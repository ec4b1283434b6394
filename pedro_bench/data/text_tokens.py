"""Token ids of texts: what data say is read as text, and only a template writes control tokens.

A tokenizer turns the written form of a control token (`</s>`, `<|end|>`) into that token wherever it
stands. Here it is read letter by letter, except in parts of a prompt that are the template's own: there
it is replaced by a mark, which a copy of the tokenizer knows as one token.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from pedro_bench.checks import MARKS
from pedro_bench.protocols.task import Example, Part

_OPEN, _CLOSE = MARKS
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")

_COPIES: "WeakKeyDictionary[Any, tuple[tuple[str, ...], Any]]" = WeakKeyDictionary()
"""Tokenizer -> the control tokens it had, and the copy of its backend that knows their marks."""


class TextTokens:
    """A Hugging Face tokenizer, fast or slow, that reads texts as text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        chat = str(tokenizer.chat_template or "")
        names = {
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if token.special or (token.content.strip() and token.content in chat)
        }
        names.update(filter(None, tokenizer.all_special_tokens))
        self._names = tuple(sorted(names, key=lambda name: (-len(name), name)))
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")

    def prompt_of(self, parts: Sequence[Part]) -> str:
        """Return the text of a prompt, with marks for the control tokens that its template writes."""
        return "".join(
            self._pattern.sub(self._mark, part.text) if part.is_template else part.text
            for part in parts
        )

    def ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Return the ids of texts of `prompt_of`; `special` adds what is put around every sequence."""
        if not self.tokenizer.is_fast:
            return [self._slow_ids(text, special) for text in texts]
        if any(_OPEN in text for text in texts):
            backend = self._marking_backend()
            numbers = self._ids_of_marks(backend)
            found = backend.encode_batch_fast(list(texts), add_special_tokens=special)
            return [[numbers.get(one, one) for one in each.ids] for each in found]
        return [each.ids for each in self._as_text(texts, special, with_offsets=False)]

    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        """Return where each text's tokens end, in characters (its words, for slow tokenizers)."""
        if not self.tokenizer.is_fast:
            return [[match.end() for match in re.finditer(r"\S+", text)] for text in texts]
        found = self._as_text(texts, False, with_offsets=True)
        return [[end for _, end in each.offsets] for each in found]

    def misread(self) -> tuple[str, ...]:
        """Return the control tokens that no setting of this tokenizer keeps out of texts.

        They stand in its vocabulary of words or pieces, or are a chat template's without being special.
        """
        tokenizer = self.tokenizer
        kept = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        found = []
        for name in self._names:
            number = tokenizer.convert_tokens_to_ids(name)
            if number == tokenizer.unk_token_id and number not in kept:
                continue  # what an unknown word becomes anyway
            read = self.ids([f"a {name} b", f"a{name}b", name], special=False)
            if any(number in ids for ids in read):
                found.append(name)
        return tuple(found)

    def count_misread(self, examples: Sequence[Example], with_answers: bool) -> int:
        """Return how many examples hold, in their data, what `misread` names.

        A slow tokenizer has no marks: beside control tokens of a template it misreads all.
        """
        names = self.misread()
        if not self.tokenizer.is_fast and any(self._is_marked(one.parts) for one in examples):
            names = self._names
        if not names:
            return 0
        pattern = re.compile("|".join(map(re.escape, names)))
        return sum(
            any(pattern.search(part.text) for part in one.parts if not part.is_template)
            or (with_answers and pattern.search(one.answer) is not None)
            for one in examples
        )

    def _is_marked(self, parts: Sequence[Part]) -> bool:
        return any(part.is_template and self._pattern.search(part.text) for part in parts)

    def _mark(self, name: re.Match[str]) -> str:
        return f"{_OPEN}{self._numbers[name.group()]}{_CLOSE}"

    def _as_text(self, texts: Sequence[str], special: bool, *, with_offsets: bool) -> list[Any]:
        backend = self._marking_backend()
        encode = backend.encode_batch if with_offsets else backend.encode_batch_fast
        found: list[Any] = encode(list(texts), add_special_tokens=special)
        return found

    def _slow_ids(self, text: str, special: bool) -> list[int]:
        whole = _MARK.sub(lambda mark: self._names[int(mark.group(1))], text)
        as_text = {"split_special_tokens": True} if self._pattern.search(text) else {}
        chosen = as_text if whole == text else {}
        ids: list[int] = self.tokenizer(whole, add_special_tokens=special, **chosen)["input_ids"]
        return ids

    def _marking_backend(self) -> Any:
        """Return a copy of the fast tokenizer in which marks are tokens and control tokens are text.

        The tokenizer's own backend keeps the truncation, padding and reading of control tokens that its last
        call asked for, and other threads may call it.
        """
        known, backend = _COPIES.get(self.tokenizer, ((), None))
        if backend is not None and known == self._names:
            return backend
        from tokenizers import AddedToken

        backend = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_truncation()
        backend.no_padding()
        flags = {
            token.content: {
                "single_word": token.single_word,
                "lstrip": token.lstrip,
                "rstrip": token.rstrip,
                "normalized": token.normalized,
            }
            for token in self.tokenizer.added_tokens_decoder.values()
        }
        backend.add_tokens(
            [
                AddedToken(f"{_OPEN}{number}{_CLOSE}", **flags.get(name, {}))
                for name, number in self._numbers.items()
            ]
        )
        backend.encode_special_tokens = True
        _COPIES[self.tokenizer] = (self._names, backend)
        return backend

    def _ids_of_marks(self, backend: Any) -> dict[int, int]:
        return {
            backend.token_to_id(f"{_OPEN}{number}{_CLOSE}"): self.tokenizer.convert_tokens_to_ids(
                name
            )
            for name, number in self._numbers.items()
        }
