"""The terminal chat, in a pipe and at a (pseudo) keyboard."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import forked
import pytest

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GREEDY, ChatMessage, GenerationSettings
from llava_tuning.inference.terminal import TerminalChat
from llava_tuning.inference.transformers_backend import TransformersBackend

SHORT = replace(GREEDY, max_new_tokens=12)
COMMAND = [sys.executable, "-m", "llava_tuning", "chat"]


class Recording:
    """The real model; keeps what it was asked, and is interrupted after `pieces`, where given."""

    def __init__(self, backend: TransformersBackend) -> None:
        self.name, self.sees, self.max_length = backend.name, backend.sees, backend.max_length
        self.asked: list[list[ChatMessage]] = []
        self.interrupt_after: int | None = None
        self._backend = backend

    def stream(
        self, messages: Sequence[ChatMessage], settings: GenerationSettings, cancel: object = None
    ) -> Iterator[str]:
        self.asked.append(list(messages))
        for number, piece in enumerate(self._backend.stream(messages, settings)):
            if number == self.interrupt_after:
                raise KeyboardInterrupt
            yield piece

    def answer_batch(self, *_: object) -> list[str]:
        raise NotImplementedError


def chat_with(backend: Recording, **options: object) -> tuple[TerminalChat, io.StringIO]:
    out = io.StringIO()
    return TerminalChat(backend, SHORT, out=out, **options), out  # type: ignore[arg-type]


def test_a_conversation_goes_on_and_clear_forgets_it(llava: TransformersBackend, pictures: Path) -> None:
    model = Recording(llava)
    chat, out = chat_with(model, system="Be brief.", image=pictures / "red.png")
    for line in ("What is the capital of France?", "  ", "And Italy?", "/clear", "Hello?"):
        assert chat.handle(line)
    assert not chat.handle("/quit")
    roles = [[message.role for message in asked] for asked in model.asked]
    assert roles == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
        ["system", "user"],
    ]
    assert [len(message.images) for message in model.asked[1]] == [0, 1, 0, 0]
    assert not model.asked[2][1].images
    assert model.asked[1][2].text in out.getvalue()


def test_a_picture_goes_with_the_next_question(llava: TransformersBackend, pictures: Path) -> None:
    model = Recording(llava)
    chat, _ = chat_with(model)
    chat.handle(f"/image {pictures / 'red.png'}")
    chat.handle("What is it?")
    assert model.asked[0][0].images[0].size == (40, 30)
    with pytest.raises(UserError, match="not a picture"):
        chat.handle(f"/image {pictures / 'broken.png'}")
    with pytest.raises(UserError, match="/imagine"):
        chat.handle("/imagine a cat")


def test_a_text_model_shows_no_pictures(llama: TransformersBackend, pictures: Path) -> None:
    with pytest.raises(UserError, match="text model"):
        chat_with(Recording(llama), image=pictures / "red.png")


def test_an_interrupt_keeps_what_was_said(llava: TransformersBackend) -> None:
    model = Recording(llava)
    model.interrupt_after = 2
    chat, out = chat_with(model)
    assert chat.handle("What is the capital of France?")
    assert "(stopped)" in out.getvalue()
    model.interrupt_after = None
    chat.handle("Go on.")
    assert model.asked[1][1] == ChatMessage("assistant", "The capital")


def test_questions_from_a_pipe(text_model: Path) -> None:
    arguments = [str(text_model), "--temperature", "0", "--max-new-tokens", "12"]
    questions = "What is the capital of France?\n/clear\nWhat is the capital of Italy?"
    done = forked.run([*COMMAND, *arguments], input=questions, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout and "Rome" in done.stdout
    failed = forked.run([*COMMAND, *arguments], input="/image x.png\n", capture_output=True)
    assert failed.returncode == 2 and "takes no pictures" in failed.stderr


def test_a_model_without_a_template_chats_by_one_that_is_named(text_model: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(text_model, tmp_path / "bare")
    (bare / "chat_template.jinja").rename(tmp_path / "own.jinja")
    (tmp_path / "broken.jinja").write_text("{% if x %}\n{{ x")

    def ask(*template: str) -> subprocess.CompletedProcess[str]:
        arguments = [str(bare), "--temperature", "0", "--max-new-tokens", "8", *template]
        return forked.run([*COMMAND, *arguments], input="What is the capital of France?", capture_output=True)

    refused = ask()
    assert refused.returncode == 2 and "chat with --template" in refused.stderr
    for template in ("chatml", str(tmp_path / "own.jinja")):
        assert "Paris" in ask("--template", template).stdout
    assert "line 2" in ask("--template", str(tmp_path / "broken.jinja")).stderr
    assert "give chatml, internlm2_chat, vicuna or a Jinja file" in ask("--template", "llama9").stderr


def test_mistakes_are_told_in_one_line(text_model: Path, pictures: Path, tmp_path: Path) -> None:
    for arguments, named in (
        ([str(tmp_path / "none")], "none"),
        ([str(text_model), "--image", str(tmp_path / "none.png")], "none.png"),
        ([str(text_model), "--image", str(pictures / "red.png")], "takes no pictures"),
        ([str(text_model), "--temperature", "9"], "temperature"),
    ):
        done = forked.run([*COMMAND, *arguments], input="", capture_output=True)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1 and named in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_ctrl_c_stops_the_answer_and_not_the_program(text_model: Path) -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        arguments = [*COMMAND, str(text_model), "--temperature", "0", "--max-new-tokens", "3000"]
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job, as tests may be, ignores it
        os.execv(sys.executable, arguments)
    seen = ""

    def read_until(text: str) -> None:
        nonlocal seen
        start, deadline = len(seen), time.monotonic() + 120
        while text not in seen[start:]:
            assert time.monotonic() < deadline, seen
            seen += os.read(terminal, 4096).decode(errors="replace")

    try:
        read_until("> ")
        os.write(terminal, b"Write a very long story about a cat and a dog.\n")
        read_until("\n")  # the echo of the question
        time.sleep(2)
        os.write(terminal, b"\x03")
        read_until("(stopped)")
        os.write(terminal, b"/quit\n")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(("line", "said"), [("/image ", "names no file"), ("a\udcffb", "not UTF-8")])
def test_lines_that_cannot_be_obeyed_are_named(llava: TransformersBackend, line: str, said: str) -> None:
    chat, _ = chat_with(Recording(llava))
    with pytest.raises(UserError, match=said):
        chat.handle(line)
