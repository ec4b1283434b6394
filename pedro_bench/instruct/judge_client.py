"""Judge client: one chat completion from an endpoint that speaks OpenAI's protocol.

    OPENAI_BASE_URL   address of the endpoint, such as http://localhost:8000/v1
    OPENAI_API_KEY    its key; may be absent where the endpoint asks for none

Both come from the environment alone. Neither is ever shown or recorded: whatever the endpoint or a
library says is cleaned of them first. Redirects are not followed, as they would carry the key elsewhere.
"""

import http.client
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from pedro_bench.errors import ConfigError, JudgingError
from pedro_bench.instruct.request import Judge

URL_VARIABLE, KEY_VARIABLE = "OPENAI_BASE_URL", "OPENAI_API_KEY"

_HIDDEN = "***"
_SHORTEST_SECRET = 8
_LONGEST_REPLY = 4 * 2**20
_BUSY = (408, 409, 425, 429)
_SHOWN = 300


class BusyError(Exception):
    """The endpoint could not answer now; asking again may help.

    Attributes:
        reason: What happened, cleaned.
        wait_seconds: What the endpoint asks to wait, or None.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, repr=False)
class Endpoint:
    """Where the judge is; its representation shows neither address nor key."""

    url: str
    key: str | None

    def cleaned(self, text: str) -> str:
        """Return what is reported of a failure, without address and key."""
        parts = urlsplit(self.url)
        for secret in (self.key, self.url, parts.netloc, parts.hostname):
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text

    def kept(self, value: Any) -> Any:
        """Return what is recorded of a reply: its texts valid, without address and key.

        A key of a few letters is no secret, but may be a part of words, so it is left alone.
        """
        if isinstance(value, dict):
            return {self.kept(name): self.kept(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.kept(item) for item in value]
        if not isinstance(value, str):
            return value
        for secret in (self.key, self.url):
            if secret and len(secret) >= _SHORTEST_SECRET:
                value = value.replace(secret, _HIDDEN)
        return value.encode("utf-8", "replace").decode()


Reply = dict[str, Any]
"""The whole answer of the endpoint, as it came but for address and key."""


def text_of_reply(reply: Reply) -> str:
    """Return the text of the judge's message.

    Raises:
        ValueError: If the reply holds none.
    """
    try:
        text = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no message")
    return text


def endpoint_of(environment: Mapping[str, str]) -> Endpoint:
    """Read where the judge is.

    Raises:
        ConfigError: If the address is absent or malformed, or the key cannot be sent in a header.
    """
    url = environment.get(URL_VARIABLE, "").strip().rstrip("/")
    parts = _split(url)
    if not url or parts is None:
        raise ConfigError(
            f"the environment variable {URL_VARIABLE} must hold the judge's address, such as "
            f"http://localhost:8000/v1, got {'one that is no http address' if url else 'none'}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"the environment variable {URL_VARIABLE} must hold a plain address, got one with a user "
            f"name, password, query or fragment: give the key in {KEY_VARIABLE}."
        )
    key = environment.get(KEY_VARIABLE, "").strip() or None
    if key and not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            f"the environment variable {KEY_VARIABLE} must hold one word of ASCII characters, got "
            "something else."
        )
    return Endpoint(url, key)


class JudgeClient:
    """Asks one judge at an endpoint; safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, judge: Judge) -> None:
        self._endpoint = endpoint
        self._judge = judge
        self._opener = urllib.request.build_opener(_NoRedirect())

    def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """Send one request and return the answer.

        Raises:
            BusyError: If asking again may help (busy, broken, silent or garbled).
            JudgingError: If it cannot.
        """
        try:
            with self._opener.open(
                self._request(messages), timeout=self._judge.timeout_seconds
            ) as response:
                content = self._read(response)
        except HTTPError as error:
            raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = self._endpoint.cleaned(" ".join(str(error).split()))
            raise BusyError(f"{type(error).__name__}: {reason or 'no answer'}") from None
        return self._reply(content)

    def _request(self, messages: Sequence[Mapping[str, str]]) -> urllib.request.Request:
        judge = self._judge
        body: dict[str, Any] = {"model": judge.model, "messages": list(messages)}
        if judge.temperature is not None:
            body["temperature"] = judge.temperature
        if judge.max_tokens is not None:
            body["max_tokens"] = judge.max_tokens
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._endpoint.key:
            headers["Authorization"] = f"Bearer {self._endpoint.key}"
        return urllib.request.Request(
            f"{self._endpoint.url}/chat/completions",
            data=json.dumps(body).encode(),
            headers=headers,
            method="POST",
        )

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read a whole answer; one that drips or never ends is given up."""
        deadline = time.monotonic() + self._judge.timeout_seconds
        content = b""
        while part := response.read1(2**16):
            content += part
            if time.monotonic() > deadline or len(content) > _LONGEST_REPLY:
                raise TimeoutError("the answer took too long or was too long")
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        return content

    def _reply(self, content: bytes) -> Reply:
        try:
            reply = json.loads(content, parse_constant=_no_number)
            text_of_reply(reply)
        except (ValueError, RecursionError):
            shown = content[:_SHOWN].decode(errors="replace")
            raise BusyError(f"no message in the answer {self._endpoint.cleaned(shown)!r}") from None
        return self._endpoint.kept(reply)  # type: ignore[no-any-return]

    def _refusal(self, error: HTTPError) -> Exception:
        """Return what an error status means: ask again, or give up."""
        try:
            said = error.read(_SHOWN).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            said = ""
        reason = f"HTTP {error.code}: {self._endpoint.cleaned(' '.join(said.split()))}"
        if error.code in _BUSY or error.code >= 500:
            return BusyError(reason, _seconds(error.headers.get("Retry-After")))
        remedy = f"check {URL_VARIABLE}, {KEY_VARIABLE} and judge.model"
        return JudgingError(f"the judge must take the request, got {reason} ({remedy}).")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *given: Any, **named: Any) -> None:
        """Follow no redirect: it comes back as an error status."""


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _split(url: str) -> Any:
    """Return the parts of an http address, or None."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        return None
    plain = all("!" <= character <= "~" for character in url)
    return parts if usable and plain else None


def _seconds(value: str | None) -> float | None:
    """Read a Retry-After header that counts seconds; one with a date is not needed."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
