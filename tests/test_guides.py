"""Every command of the guides works, in the order in which a newcomer types them."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import typer

from llava_tuning import cli

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "guide-assistant.md"
CHINESE = GUIDE.with_name("guide-assistant_zh-CN.md")
# What keeps a command's work small; the command itself stays as it is typed.
SMALL = {
    "data easy-vqa": "--limit 40",
    "train": "--set max_steps=2 --set save_steps=1 --set evaluation_inputs=[]",
    "select": "--sample 1",
    "chat": "--max-new-tokens 8",
}
REPLACED = {"iter_250.pth": "iter_2.pth", "--limit 1000": "--limit 4"}


def commands(text: str) -> list[str]:
    """The lines of its code blocks, those that go on joined."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


TEXT = GUIDE.read_text(encoding="utf-8")
STEPS, _, REST = TEXT.partition("## With eyes")
EYES, _, INTERNLM2 = REST.partition("## InternLM2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looks like the project's folder to the commands."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "assets").symlink_to(ROOT / "assets")
    return folder


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Finds `llava-tuning` beside this Python, as after activating its environment."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def type_in(lines: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Each command, made small."""
    for command in lines:
        for start, options in SMALL.items():
            if f"llava-tuning {start} " in command:
                command += f" {options}"
        for text, smaller in REPLACED.items():
            command = command.replace(text, smaller)
        words = ["bash", "-c", command]
        done = subprocess.run(
            words, cwd=folder, env=environment, input="Who are you?\n", capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_both_languages_give_the_same_commands() -> None:
    assert commands(CHINESE.read_text(encoding="utf-8")) == commands(TEXT)


@pytest.mark.slow
@pytest.mark.training
def test_a_newcomer_gets_from_a_name_to_an_assistant(folder: Path, environment: dict[str, str]) -> None:
    type_in([line for line in commands(STEPS) if " web " not in line], folder, environment)
    assert (folder / "models" / "momo" / "chat_template.jinja").is_file()
    assert (folder / "work_dirs" / "momo" / "selection.png").is_file()
    for command in (line for line in commands(STEPS) if " web " in line):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["env", *shlex.split(command), "--port", str(port)]
        with subprocess.Popen(
            words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            try:
                assert any("ready: open" in line for line in server.stdout), "it ended"
                status = _status(f"http://127.0.0.1:{port}/v1/models")
            finally:
                server.terminate()
        assert status == (401 if "AUTH" in command else 200)


@pytest.mark.slow
@pytest.mark.training
def test_a_newcomer_gets_to_one_that_sees(folder: Path, environment: dict[str, str]) -> None:
    type_in([commands(STEPS)[0], *commands(EYES)], folder, environment)
    assert (folder / "models" / "momo_sees" / "processor_config.json").is_file()
    assert (folder / "work_dirs" / "momo_sees" / "selection.png").is_file()


@pytest.mark.parametrize("command", commands(INTERNLM2))
def test_commands_for_internlm2_are_understood(command: str) -> None:
    group = typer.main.get_command(cli._build())
    words = shlex.split(command)[1:]
    context = group.make_context("llava-tuning", list(words), resilient_parsing=True)
    while hasattr(group, "resolve_command"):
        name, group, words = group.resolve_command(context, words)
        context = group.make_context(name, list(words), parent=context, resilient_parsing=False)


def _status(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
