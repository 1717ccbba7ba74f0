"""Weights of an OpenXLab app come by git and Git LFS, once, and no key is written anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llava_tuning.deployment import openxlab
from llava_tuning.errors import UserError


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def hub(momo, tmp_path, monkeypatch) -> Path:
    """A hub in a folder with the repository ada/momo, its weights in Git LFS."""
    if shutil.which("git-lfs") is None:
        pytest.skip("no git-lfs on this machine: apt-get install git-lfs")
    hub, work = tmp_path / "hub", tmp_path / "work"
    bare = hub / "ada" / "momo.git"
    bare.mkdir(parents=True)
    git(bare, "init", "--bare", "-b", "main")
    shutil.copytree(momo, work)
    (work / "model.safetensors").write_bytes(b"weights " * 1000)
    git(work, "init", "-b", "main")
    git(work, "lfs", "install", "--local")
    git(work, "lfs", "track", "*.safetensors")
    git(work, "add", "-A")
    git(work, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "model")
    git(work, "push", f"file://{bare}", "main")
    monkeypatch.setattr(openxlab, "HOST", f"file://{hub}")
    monkeypatch.setenv("LLAVA_TUNING_CACHE", str(tmp_path / "cache"))
    return hub


def test_weights_are_fetched_once_and_whole(hub):
    directory = openxlab.fetch_model("ada/momo")
    assert (directory / "model.safetensors").read_bytes() == b"weights " * 1000  # no pointer
    shutil.rmtree(hub)
    assert openxlab.fetch_model("ada/momo") == directory
    for file in directory.rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes(), file


def test_what_cannot_be_fetched_is_named_and_leaves_nothing(hub, tmp_path):
    with pytest.raises(UserError, match=r"ada/none: cannot be fetched from OpenXLab \(.*OPENXLAB_TOKEN"):
        openxlab.fetch_model("ada/none")
    assert not [name for name in os.listdir(tmp_path / "cache") if not name.endswith(".lock")]  # noqa: PTH208


def test_git_reads_user_and_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENXLAB_USER", "ada")
    done = subprocess.run(
        [
            "git",
            "-c",
            "credential.helper=",
            "-c",
            f"credential.helper={openxlab._HELPER}",
            "credential",
            "fill",
        ],
        input="protocol=https\nhost=code.openxlab.org.cn\n\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "username=ada" in done.stdout and "password=canary_five" in done.stdout
    assert "canary" not in openxlab._HELPER
