"""The Hub: every way a repository cannot be had is one sentence with the remedy.

A real server on this machine stands for the Hub; the client runs in its own process, since
huggingface_hub reads its environment once.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[3]
ACTIONS = ("fetch_config", "fetch_snapshot", "fetch_tokenizer")


class Refusal(BaseHTTPRequestHandler):
    """Answers every request with the error that the repository's name asks for."""

    def answer(self) -> None:
        status, code = {
            "gated": (403, "GatedRepo"),
            "missing": (404, "RepoNotFound"),
            "moved": (404, "RevisionNotFound"),
            "garbage": (200, ""),
            "broken": (500, ""),
        }[self.path.split("owner/")[1].split("/")[0]]
        if status == 200:
            body = b"<html>this is no model</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
            return
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    """Address of a Hub that refuses."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def use(calls: list[tuple[str, str]], endpoint: str, home: Path, *, offline: bool) -> list[str]:
    """Call the hub module in a process of its own; return what each call says or returns."""
    script = f"""
from pedro_bench.backbones.hub import fetch_config, fetch_snapshot, fetch_tokenizer
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.hub import HubSource
from pedro_bench.errors import PedroBenchError
def read_dataset(repository, revision):
    asked = ["method=lora", "task=sst2", f"task.hub_id={{repository}}", f"task.hub_revision={{revision!r}}"]
    return HubSource(name="hub").read(settings_of(asked).task)
for action, repository in {calls!r}:
    try:
        print("returned", globals()[action](repository, {COMMIT!r}))
    except PedroBenchError as error:
        print(error)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=800,
    )
    return done.stdout.splitlines()


def test_refusals(hub: str, tmp_path: Path) -> None:
    expected = {
        "owner/gated": "accept the licence on its page and set HF_TOKEN, or download it elsewhere",
        "owner/missing": "must exist on the Hub and be visible to you, got not found: check",
        "owner/moved": f"backbone.revision must be a commit of owner/moved, got '{COMMIT}'",
    }
    calls = [(action, name) for name in expected for action in ACTIONS]
    sentences = use(calls, hub, tmp_path, offline=False)
    assert len(sentences) == len(calls)
    for (_, name), sentence in zip(calls, sentences, strict=True):
        assert expected[name] in sentence


@pytest.mark.fault(
    what="The Hub without a network",
    how="no network, with a whole and with an unfinished cache",
    lost="nothing: the cache is used, or one sentence with the remedy",
)
def test_offline_cache(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    """A whole snapshot needs no network; an unfinished one and an absent one are refused."""
    whole, unfinished = (
        tmp_path / "hub" / f"models--owner--{name}" / "snapshots" / COMMIT
        for name in ("whole", "unfinished")
    )
    whole.parent.mkdir(parents=True)
    whole.symlink_to(tiny_folders["llama"], target_is_directory=True)
    unfinished.mkdir(parents=True)
    config = (tiny_folders["llama"] / "config.json").read_bytes()
    (unfinished / "config.json").write_bytes(config)

    calls = [
        ("fetch_snapshot", "owner/whole"),
        ("fetch_config", "owner/whole"),
        ("fetch_tokenizer", "owner/whole"),
        ("fetch_config", "owner/unfinished"),
        ("fetch_snapshot", "owner/unfinished"),
        ("fetch_snapshot", "owner/absent"),
        ("fetch_config", "owner/absent"),
        ("fetch_tokenizer", "owner/absent"),
    ]
    printed = use(calls, "http://127.0.0.1:9", tmp_path, offline=True)
    assert printed[:4] == [f"returned {whole}"] * 3 + [f"returned {unfinished}"]
    assert (
        "must have all its safetensors weights in the local cache, got an unfinished" in printed[4]
    )
    for sentence in printed[5:]:
        start = f"backbone.path=owner/absent at revision {COMMIT[:12]} must be in the local cache"
        assert sentence.startswith(start)
        assert "unset HF_HUB_OFFLINE" in sentence
        assert "backbone.path=<folder>" in sentence


class Repository(Refusal):
    """Serves the files of one folder as a repository at COMMIT."""

    folder: Path

    def answer(self) -> None:
        name = self.path.rpartition("/")[2]
        files = [
            {"type": "file", "path": one.name, "size": one.stat().st_size, "oid": one.name}
            for one in self.folder.iterdir()
        ]
        if "/tree/" in self.path:
            body = json.dumps(files).encode()
        elif self.path.startswith("/api/"):
            siblings = [{"rfilename": one["path"]} for one in files]
            body = json.dumps({"id": "owner/whole", "sha": COMMIT, "siblings": siblings}).encode()
        else:
            body = (self.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.mark.parametrize("action", ["fetch_snapshot", "fetch_tokenizer"])
def test_weights_that_were_cached_alone_get_their_tokenizer(
    action: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Where it can be had; else they are used as they are, with a tokenizer of another folder."""
    handler = type("Serving", (Repository,), {"folder": tiny_folders["llama"]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    snapshot = tmp_path / "hub" / "models--owner--whole" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_folders["llama"] / name, snapshot)
    call = [(action, "owner/whole")]
    for address, offline in (("http://127.0.0.1:9", True), ("http://127.0.0.1:9", False)):
        assert use(call, address, tmp_path, offline=offline) == [f"returned {snapshot}"]
        assert not (snapshot / "tokenizer.json").exists()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    assert use(call, address, tmp_path, offline=False) == [f"returned {snapshot}"]
    server.shutdown()
    server.server_close()
    expected = (tiny_folders["llama"] / "tokenizer.json").read_bytes()
    assert (snapshot / "tokenizer.json").read_bytes() == expected


@pytest.mark.fault(
    what="The Hub answers garbage, or errors",
    how="a local server with HTML in place of JSON, and with 500",
    lost="nothing: one sentence with the remedy",
)
@pytest.mark.parametrize("name", ["garbage", "broken"])
def test_nonsense_is_one_sentence(hub: str, tmp_path: Path, name: str) -> None:
    repository = f"owner/{name}"
    (sentence,) = use([("fetch_snapshot", repository)], hub, tmp_path, offline=False)
    assert sentence.startswith(f"backbone.path={repository} at revision {COMMIT[:12]} must be")
    reason = {"garbage": "JSONDecodeError", "broken": "status 500"}[name]
    assert f"got {reason} from {hub} in 2 tries: connect to the network" in sentence
    assert "backbone.path=<folder>" in sentence


@pytest.mark.fault(
    what="The Hub unreachable",
    how="an address where nobody listens",
    lost="nothing: one sentence with the remedy",
)
def test_unreachable_is_one_sentence(tmp_path: Path) -> None:
    calls = [(action, "owner/absent") for action in ACTIONS]
    sentences = use(calls, "http://127.0.0.1:9", tmp_path, offline=False)
    assert len(sentences) == len(calls)
    for sentence in sentences:
        assert "or reachable, got ConnectError from http://127.0.0.1:9 in 2 tries" in sentence


@pytest.mark.slow
@pytest.mark.fault(
    what="The Hub does not answer",
    how="a server that takes connections and stays silent, asked for a backbone and for a data set",
    lost="nothing: two waits of ten seconds, then one sentence",
)
def test_silence_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (sentence,) = use([("fetch_config", "owner/slow")], address, tmp_path, offline=False)
        (other,) = use([("read_dataset", "owner/slow")], address, tmp_path, offline=False)
    for told in (sentence, other):
        assert f"got TimeoutError from {address} in 2 tries" in told
    assert "must be in the local cache or reachable" in sentence
    assert other.startswith(f"owner/slow (sst2) at revision {COMMIT} must be reachable or cached")


class Trickle(Refusal):
    """Begins an answer and never ends it: a byte now and then."""

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(1)
        except OSError:
            pass


@pytest.mark.slow
@pytest.mark.fault(
    what="The Hub answers without end",
    how="a server that sends a byte a second, at an address with a password",
    lost="nothing: two waits of ten seconds, then one sentence, without the password",
)
def test_an_answer_without_end_is_one_sentence(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_address[1]}"
    address = f"http://somebody:secret@{host}"
    (sentence,) = use([("fetch_config", "owner/slow")], address, tmp_path, offline=False)
    server.shutdown()
    server.server_close()
    assert f"got TimeoutError from http://{host} in 2 tries" in sentence
    assert "secret" not in sentence
