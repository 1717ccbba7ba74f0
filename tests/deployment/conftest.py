"""A model directory by its files' names, and folders written from it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

SECRETS = {
    "HF_TOKEN": "hf_canary_one",
    "LLAVA_TUNING_AUTH": "ada:canary_two",
    "LLAVA_TUNING_API_KEY": "canary_three",
    "OPENAI_API_KEY": "canary_four",
    "OPENXLAB_TOKEN": "canary_five",
}

# Everything may be read, as the interpreter has to be, and nothing but the user's own files written.
AS_USER = [
    *("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]


@pytest.fixture(scope="session")
def momo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looks like a model directory of an export, with files beside it that no platform needs."""
    directory = tmp_path_factory.mktemp("models") / "momo"
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "provenance.json"):
        (directory / name).write_text("{}")
    (directory / "config.json").write_text(json.dumps({"model_type": "llava"}))
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    save_file({"lm_head.weight": torch.zeros(2, 2)}, directory / "model.safetensors")
    (directory / "tokenizer.json").write_bytes(b" " * 11_000_000 + b"{}")
    (directory / "iter_250.pth").write_bytes(b"a checkpoint")
    (directory / ".secret").write_text("mine")
    return directory


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def files_of(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.fixture(scope="session")
def list_files():
    return files_of


def run_as_user(words: list[str], home: Path) -> list[str]:
    """The command, as user 1000 where root runs the tests; `home` becomes that user's."""
    if os.geteuid() or shutil.which("setpriv") is None:
        return words
    os.chown(home, 1000, 1000)
    return [*AS_USER, *words]


@pytest.fixture(scope="session")
def as_user():
    return run_as_user
