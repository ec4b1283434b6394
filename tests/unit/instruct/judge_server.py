"""A real HTTP server on this machine that speaks the judge's protocol, and misbehaves as told."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "sk-secret-key-of-the-test-0123456789"


class Answer:
    """What the server sends: a status, a body (bytes or JSON), headers.

    It waits before it answers, drips byte by byte with a pause after each, or claims to send more
    than it does.
    """

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        wait: float = 0.0,
        drip: float = 0.0,
        missing: int = 0,
        **headers: str,
    ) -> None:
        self.drip, self.missing = drip, missing
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.wait = status, wait
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def said(text: str) -> Answer:
    """A judgement in the form of a chat completion."""
    return Answer(
        {
            "id": "c-1",
            "model": "judge-1",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
            "usage": {"total_tokens": 10},
        }
    )


class JudgeServer:
    """Serves while a `with` block runs.

    Args:
        answer: Gets the number of the request, from 0, and its body; returns an Answer.

    Attributes:
        requests: Path, headers and body of every request, in order of arrival.
        most_at_once: Most requests that were under way together.
    """

    def __init__(self, answer: Callable[[int, Any], Answer]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._under_way: set[int] = set()
        self._lock = threading.Lock()
        self._answer = answer
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner._serve(self)

            def do_GET(self) -> None:
                owner._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": KEY}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(length) or b"null")
        with self._lock:
            number = len(self.requests)
            headers = dict(handler.headers)
            self.requests.append({"path": handler.path, "headers": headers, "body": body})
            self._under_way.add(number)
            self.most_at_once = max(self.most_at_once, len(self._under_way))
        try:
            answer = self._answer(number, body)
            time.sleep(answer.wait)
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(answer.content) + answer.missing))
            handler.end_headers()
            step = 1 if answer.drip else max(1, len(answer.content))
            for start in range(0, len(answer.content), step):
                if start + step >= len(answer.content):
                    self._is_answered(number)  # not later: the client may be sooner to ask again
                handler.wfile.write(answer.content[start : start + step])
                time.sleep(answer.drip)
        except OSError:
            pass  # the client gave up
        finally:
            self._is_answered(number)

    def _is_answered(self, number: int) -> None:
        with self._lock:
            self._under_way.discard(number)
