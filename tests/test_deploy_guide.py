"""Every command of the guide to deploying works; those that reach other machines are understood."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from llava_tuning import cli

ROOT = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("deploy.md", "deploy_zh-CN.md")
)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language; those without one are typed as they are."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


ALL = [line for block in blocks(ENGLISH, "") for line in block.splitlines()]
ELSEWHERE = [line for block in blocks(ENGLISH, "bash") for line in block.splitlines()]


@pytest.mark.parametrize("language", ["", "bash", "nginx"])
def test_both_languages_give_the_same_commands(language):
    assert blocks(ENGLISH, language) == blocks(CHINESE, language) != []


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_links_inside_the_guide_lead_somewhere(text):
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", text):
        assert not target or target.startswith("https:") or (ROOT / "docs" / target).exists(), target
    for anchor in re.findall(r"\]\(#([^)]*)\)", text):
        assert anchor in slugs, anchor


@pytest.mark.parametrize("command", [line for line in ELSEWHERE if line.startswith("llava-tuning")])
def test_commands_that_upload_are_understood(command):
    group, words = typer.main.get_command(cli._build()), shlex.split(command)[1:]
    context = group.make_context("llava-tuning", list(words), resilient_parsing=True)
    while hasattr(group, "resolve_command"):
        name, group, words = group.resolve_command(context, words)
        context = group.make_context(name, list(words), parent=context, resilient_parsing=False)


@pytest.fixture(scope="module")
def folder(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a newcomer has a model."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(default_model, folder / "models" / "my")
    return folder


@pytest.mark.slow
def test_each_command_works_in_its_turn(folder: Path, find_free_port: Callable[[], int]):
    if shutil.which("git-lfs") is None:
        pytest.skip("no git-lfs on this machine: apt-get install git-lfs")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{
            f"GIT_{who}_{what}": "ada@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    for line in ALL:
        command, port = line.replace("=7861", f"={find_free_port()}"), find_free_port()
        if line.startswith("export "):
            environment |= dict(word.split("=", 1) for word in shlex.split(line)[1:])
        elif " web " in line or line.endswith("app.py"):
            if " web " in line:
                command += f" --port {port}"
            else:
                port = int(re.findall(r"SERVER_PORT=(\d+)", command)[0])
            assert serves(["env", *shlex.split(command)], folder, environment, port) == (
                401 if "LLAVA_TUNING_AUTH" in environment else 200
            ), line
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    stored = ["git", "-C", "openxlab", "cat-file", "-p", "HEAD:model/my/model.safetensors"]
    pointer = subprocess.run(stored, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert pointer.startswith("version https://git-lfs.github.com/spec/v1")


def serves(words: list[str], folder: Path, environment: dict[str, str], port: int) -> int:
    """The status with which the app that a command starts answers."""
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert any("ready: open" in line for line in server.stdout), "it ended"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        finally:
            server.terminate()
