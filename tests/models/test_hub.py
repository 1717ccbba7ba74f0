"""Hub ids, against a small server on this machine that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint
from llava_tuning.models.hub import check_model_repository, download
from llava_tuning.models.prepare import prepare
from llava_tuning.models.provenance import read_provenance

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one repository, `org/tiny`, and remembers what was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        files = self.server.files
        if path in ("/api/models/org/tiny", "/api/models/org/tiny/revision/main"):
            siblings = [{"rfilename": name} for name in files]
            return self.reply(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        if path.startswith(f"/api/models/org/tiny/tree/{COMMIT}"):
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            return self.reply(json.dumps(rows).encode())
        name = path.removeprefix(f"/org/tiny/resolve/{COMMIT}/")
        if name in files:
            return self.reply(files[name], name)
        code = "RevisionNotFound" if path.startswith("/api/models/org/tiny/") else "RepoNotFound"
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def reply(self, body: bytes, name: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        if name:
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(tiny_chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    names = ("config.json", "tokenizer.model", "tokenizer_config.json", "model.safetensors")
    files = {name: (tiny_chat / name).read_bytes() for name in names}
    files["modeling_internlm2.py"] = b"raise SystemExit('remote code was run')"
    files["pytorch_model.bin"] = b"the same weights once more"
    server = Hub(files)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    template = constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_repository_is_fetched_without_its_code_and_converted(
    hub: Hub, tiny_llama: Path, tmp_path: Path
) -> None:
    out = prepare("org/tiny", tmp_path / "out")
    found, expected = dict(Checkpoint(out)), dict(Checkpoint(tiny_llama))
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)
    fetched = [path for path in hub.asked if "/resolve/" in path]
    assert fetched and not any(path.endswith((".py", ".bin")) for path in fetched)
    provenance = read_provenance(out)
    assert provenance is not None
    assert (provenance.base_models[0].name, provenance.base_models[0].revision) == ("org/tiny", COMMIT)

    hub.shutdown()
    hub.server_close()
    again = prepare("org/tiny", tmp_path / "offline")  # an earlier download serves without the hub
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_a_repository_with_pickles_alone_is_fetched(hub: Hub, tiny_llama: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(load(hub.files.pop("model.safetensors")), buffer)
    hub.files["pytorch_model.bin"] = buffer.getvalue()
    found, expected = dict(Checkpoint(prepare("org/tiny", tmp_path / "out"))), dict(Checkpoint(tiny_llama))
    assert all(found[name].equal(expected[name]) for name in expected)


def test_each_folder_of_xtuners_format_is_fetched_in_the_format_that_it_has(hub: Hub) -> None:
    parts = {
        "projector/model.safetensors": True,
        "projector/pytorch_model.bin": False,  # once more
        "llm_adapter/adapter_model.bin": True,
        "visual_encoder_adapter/adapter_model.safetensors": True,
        "visual_encoder_adapter/training_args.bin": False,
        "projector/modeling_projector.py": False,
    }
    hub.files |= dict.fromkeys(parts, b"weights")
    directory, _ = download("org/tiny")
    assert {name: (directory / name).is_file() for name in parts} == parts


@pytest.mark.parametrize(
    ("source", "revision", "message"),
    [
        ("org/other", None, "org/other: no such model on the hub"),
        ("org/tiny", "v9", "org/tiny: has no revision v9"),
    ],
)
def test_what_the_hub_does_not_have(
    source: str, revision: str | None, message: str, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(source, tmp_path / "out", revision=revision)
    assert not (tmp_path / "out").exists()


def test_the_hub_is_asked_for_a_model_without_fetching_it(hub: Hub) -> None:
    check_model_repository("org/tiny")
    assert hub.asked and not any("/resolve/" in path for path in hub.asked)
    with pytest.raises(UserError, match=r"org/tinny: no such model on the hub, .*check the spelling"):
        check_model_repository("org/tinny")
    del hub.files["config.json"]
    with pytest.raises(UserError, match=r"org/tiny: holds no config\.json"):
        check_model_repository("org/tiny")


def test_without_a_hub_the_remedy_is_a_local_directory(tmp_path: Path) -> None:
    unreachable = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hf"),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "llava_tuning", "prepare", "org/tiny", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | unreachable, timeout=120
    )
    assert result.returncode == 2
    assert "org/tiny: no such local directory, and the hub could not be reached" in result.stderr
    assert "give its directory" in result.stderr
    assert "Traceback" not in result.stderr
