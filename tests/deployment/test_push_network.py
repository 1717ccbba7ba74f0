"""Uploading a Space over the network: the hub's own library against a server that records what it is sent."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TOKEN = "hf_canary_one"  # the fixtures' HF_TOKEN
SPACE = "/api/spaces/ada/momo"
LARGE_BYTES = 10_000_000


class Hub(ThreadingHTTPServer):
    """As much of the hub as an upload asks for; an earlier version of the Space left `src/gone.py`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str]] = []
        self.strangers: list[str] = []  # requests without the token
        self.bodies: list[bytes] = []
        self.large: dict[str, bytes] = {}  # by the SHA-256 that was announced
        self.files: dict[str, bytes] = {}
        self.deleted: list[str] = []

    def reply(self, method: str, path: str, body: bytes) -> object:
        """What the hub says."""
        if path == "/api/repos/create":
            return {"url": f"{self.address}/spaces/ada/momo", "name": "ada/momo"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == f"{SPACE}/hardware":
            hardware = {"current": None, "requested": json.loads(body)["flavor"]}
            return {"stage": "NO_APP_FILE", "hardware": hardware, "storage": None}
        if path.startswith(f"{SPACE}/preupload/"):
            return {"files": [mode(file) for file in json.loads(body)["files"]]}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return {
                "transfer": "basic",
                "objects": [
                    {**one, "actions": {"upload": {"href": f"{self.address}/large/{one['oid']}"}}}
                    for one in objects
                ],
            }
        if path.startswith("/large/"):
            self.large[path.rpartition("/")[2]] = body
            return {}
        if path.startswith(f"{SPACE}/commit/"):
            self.commit(body)
            return {"commitUrl": f"{self.address}/spaces/ada/momo/commit/1", "commitOid": "c0ffee"}
        if path.startswith(f"{SPACE}/tree/"):
            return [{"type": "file", "path": "src/gone.py", "size": 1, "oid": "0" * 40}]
        if method == "GET" and path.startswith(SPACE):
            return {"id": "ada/momo", "sha": "c0ffee", "siblings": [{"rfilename": "src/gone.py"}]}
        raise NotImplementedError(path)

    def commit(self, body: bytes) -> None:
        """Take what a commit holds, a line an operation."""
        for line in body.splitlines():
            kind, value = (said := json.loads(line))["key"], said["value"]
            if kind == "file":
                assert value["encoding"] == "base64"
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                self.files[value["path"]] = self.large[value["oid"]]
            elif kind == "deletedFile":
                self.deleted.append(value["path"])


def mode(file: dict) -> dict:
    large = file["size"] > LARGE_BYTES or file["path"].endswith((".safetensors", ".png"))
    return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the hub."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path))
        self.server.bodies.append(body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/large/"):
            self.server.strangers.append(path)
        said = json.dumps(self.server.reply(self.command, path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_: object) -> None:
        """Nothing in the tests' output."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_folder_arrives_whole_and_the_token_in_its_header_alone(hub, momo, list_files, tmp_path):
    out = tmp_path / "out"
    words = ["deploy", "space", str(momo), "--out", str(out), "--push", "ada/momo", "--hardware", "t4-small"]
    # Without Xet the library sends large files by Git LFS, which this server speaks.
    network = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "llava_tuning", *words],
        env=os.environ | network | {"HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"uploaded to {hub.address}/spaces/ada/momo" in done.stdout
    written = {str(file.relative_to(out)): file.read_bytes() for file in list_files(out)}
    assert hub.files == written and hub.deleted == ["src/gone.py"]
    assert all(sha256(body).hexdigest() == name for name, body in hub.large.items())
    assert len(hub.large) >= 2  # weights, and a tokenizer of 11 MB
    asked = [path for _, path in hub.asked]
    assert asked.index("/api/repos/create") < asked.index(f"{SPACE}/hardware") < len(asked)
    created = json.loads(hub.bodies[asked.index("/api/repos/create")])
    assert (created["type"], created["sdk"]) == ("space", "gradio")
    assert created.get("private") is True or created.get("visibility") == "private"
    assert not hub.strangers
    said = done.stdout + done.stderr
    assert TOKEN not in said and not any(TOKEN.encode() in body for body in hub.bodies)
