"""Chat in the terminal, or with questions from a pipe, one a line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings
from llava_tuning.models.pictures import open_picture

HELP = "/image FILE shows a picture, /clear starts anew, /quit leaves; Ctrl-C stops an answer."


class TerminalChat:
    """A conversation on `out`. A picture goes with the next question, and what follows is about it."""

    def __init__(
        self,
        backend: ChatBackend,
        settings: GenerationSettings,
        system: str | None = None,
        image: Path | None = None,
        out: TextIO | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._system = [ChatMessage("system", system)] if system else []
        self._out = out or sys.stdout
        self._turns: list[ChatMessage] = []
        self._pictures: tuple[Image.Image, ...] = ()
        if image is not None:
            self._show(image)

    def handle(self, line: str) -> bool:
        """Answer a question or obey a command; False means leave.

        Raises:
            UserError: the command is unknown, its picture is bad, or the question cannot be answered.
        """
        if not line.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in line):
            raise UserError("a line is not UTF-8 text; send it as such")  # how Python hands on other bytes
        command, _, argument = line.strip().partition(" ")
        if not command:
            return True
        if command in ("/quit", "/exit"):
            return False
        if command == "/help":
            print(HELP, file=self._out)
        elif command == "/clear":
            self._turns, self._pictures = [], ()
            print("(cleared)", file=self._out)
        elif command == "/image":
            if not argument.strip():
                raise UserError("/image: names no file; write /image FILE")
            self._show(Path(argument.strip()).expanduser())
        elif command.startswith("/") and command[1:].isalpha():
            raise UserError(f"{command}: no such command; {HELP}")
        else:
            self._answer(line.strip())
        return True

    def _show(self, path: Path) -> None:
        if not self._backend.sees:
            raise UserError(
                f"{self._backend.name} is a text model and takes no pictures; chat with a LLaVA model"
            )
        self._pictures = (open_picture(path),)
        print(f"(picture: {path})", file=self._out)

    def _answer(self, question: str) -> None:
        messages = [*self._turns, ChatMessage("user", question, self._pictures)]
        pieces: list[str] = []
        stream = self._backend.stream([*self._system, *messages], self._settings)
        try:
            for piece in stream:
                pieces.append(piece)
                print(piece, end="", flush=True, file=self._out)
        except KeyboardInterrupt:
            print(" (stopped)", end="", file=self._out)
        print(file=self._out, flush=True)
        self._turns = [*messages, ChatMessage("assistant", "".join(pieces).strip())]
        self._pictures = ()


def run_chat(chat: TerminalChat) -> None:
    """Read lines from standard input until /quit or its end.

    At a keyboard an error is shown and the chat goes on; in a pipe it ends the program.

    Raises:
        UserError: standard input is no terminal, and one of its lines failed.
    """
    if not sys.stdin.isatty():
        try:
            for line in sys.stdin:
                if not chat.handle(line):
                    return
        except UnicodeDecodeError:
            raise UserError("standard input is not UTF-8 text; send it as such") from None
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (input() gains history and editing)
    print(HELP)
    for line in _typed_lines():
        try:
            if not chat.handle(line):
                return
        except UserError as error:
            print(f"! {error}", file=sys.stderr)


def _typed_lines() -> Iterator[str]:
    while True:
        try:
            line = input("> ")
        except KeyboardInterrupt:
            print("\n(/quit or Ctrl-D leaves)")
            continue
        except EOFError:
            print()
            return
        yield line
