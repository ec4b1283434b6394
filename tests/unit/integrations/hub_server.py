"""A local server that speaks as much of the Hub's protocol as an upload of small files asks for."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class HubServer:
    """Takes commits and keeps what came: `files`, `created` (bodies) and `tokens`.

    Args:
        status: What a commit is answered with.
    """

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and JSON of a request."""
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.address}/ana/pedro", "name": "ana/pedro"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/models/ana/pedro/preupload/main":
            asked = json.loads(body)["files"]
            return 200, {
                "files": [
                    {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for one in asked
                ]
            }
        if path == "/api/models/ana/pedro/commit/main":
            lines = [json.loads(line) for line in body.splitlines()]
            kept = [line["value"] for line in lines if line["key"] == "file"]
            self.files |= {one["path"]: base64.b64decode(one["content"]) for one in kept}
            url = f"{self.address}/ana/pedro/commit/{'0' * 40}"
            return self.status, {"success": True, "commitOid": "0" * 40, "commitUrl": url}
        if path == "/api/models/ana/pedro" or path.startswith("/api/models/ana/pedro/revision"):
            return 200, {"id": "ana/pedro", "sha": "0" * 40, "siblings": [], "private": True}
        return 404, {"error": f"no {path}"}


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            status, content = hub.answer(self.path.partition("?")[0], body)
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_HEAD = _reply  # the names that the base class calls

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
