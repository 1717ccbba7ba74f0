"""What happens when a visitor does something in the chat. What calls it is in `pages/chat.py`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.answering import SAME, Asking, Updates, answer, idle, note, problem, unchanged
from app.chats import Chat, Chats, Question, restore_chat
from app.conversation import read_messages, receive_picture
from app.engine import Engine
from app.feedback import Feedback
from app.strings import Language, browser_language, explain, say
from app.transcript import kept_by_browser, markdown_of, messages_of, shown, thumbs
from app.uploads import keep_picture
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GenerationSettings
from llava_tuning.inference.context import check_messages


class Handlers:
    """Behaviour of the chat. Every public method is an event listener; most return `Updates`.

    `settings` are the fields' values in the order of `read_settings`.
    """

    def __init__(self, engine: Engine, feedback: Feedback) -> None:
        self.engine = engine
        self.feedback = feedback
        self.chats = Chats()

    def ask(self, request: gr.Request, box: dict[str, Any] | None, *settings: Any) -> Iterator[Updates]:
        """Answer the box's question, with any number of pictures, in pieces."""
        box = box or {}
        files = [file["path"] for file in box.get("files") or []]
        yield from self._ask(request, (box.get("text") or "").strip(), files, settings)

    def ask_about(
        self, sample: Path | None, request: gr.Request, question: str, *settings: Any
    ) -> Iterator[Updates]:
        """Answer a question of the first screen, about one of our sample pictures or none."""
        yield from self._ask(request, question, [str(sample)] if sample else [], settings)

    def retry(self, request: gr.Request, *settings: Any) -> Iterator[Updates]:
        """Answer the last question anew."""
        chat = self._chat(request)
        if not chat.exchanges:
            yield unchanged()
            return
        yield from self._answer(
            request, len(chat.exchanges) - 1, chat.exchanges[-1].question, settings, to_box=False
        )

    def edit(self, request: gr.Request, event: gr.EditData, *settings: Any) -> Iterator[Updates]:
        """Ask an earlier question in other words, with its pictures; what came after it is forgotten."""
        chat, language = self._chat(request), _language(request)
        number, text = _exchange(event.index), str(event.value).strip()
        if not 0 <= number < len(chat.exchanges) or not text:
            said = problem(say("lt_need_question", language))
            yield unchanged(said, chatbot=shown(chat.exchanges, language))
            return
        question = Question(text, chat.exchanges[number].question.pictures)
        yield from self._answer(request, number, question, settings)

    def undo(self, request: gr.Request) -> Updates:
        """Take the last question back into the box, with its pictures; its answer is forgotten."""
        chat = self._chat(request)
        if chat.cancel is not None or not chat.exchanges:
            return unchanged()
        asked = chat.exchanges[-1].question
        chat.exchanges = chat.exchanges[:-1]
        files = [str(picture.path) for picture in asked.pictures]
        return self._mirror(chat, request, box=gr.update(value={"text": asked.text, "files": files}))

    def vote(self, request: gr.Request, event: gr.LikeData) -> Updates:
        """Store a thumb up or down; the same thumb again takes it back."""
        chat, language, number = self._chat(request), _language(request), _exchange(event.index)
        before = chat.exchanges
        try:
            chat.vote(number, "up" if event.liked is True else "down" if event.liked is False else None)
            self.feedback.store(chat, number, self.engine.backend.name)
        except UserError as error:
            chat.exchanges = before
            return unchanged(problem(explain(error, language)), gr.update(feedback_value=thumbs(before)))
        said = "lt_thanks" if chat.exchanges[number].vote else "lt_vote_taken_back"
        return unchanged(note(say(said, language)), kept=kept_by_browser(chat))

    def begin_anew(self, request: gr.Request) -> Updates:
        """Stop, and start another conversation."""
        chat = self._chat(request)
        chat.replace(Chat())
        return self._mirror(chat, request)

    def reopen(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Continue a conversation that the browser kept; `Updates`, and the system prompt it had."""
        chat, language = self._chat(request), _language(request)
        try:
            chat.replace(restore_chat(event.id, event.messages))
        except UserError as error:
            return *unchanged(problem(explain(error, language))), SAME
        return *self._mirror(chat, request), chat.system

    def add_photo(self, photo: dict[str, Any] | None, box: dict[str, Any] | None) -> tuple[Any, Any]:
        """Put the camera's photo into the box; the box, and the camera without a photo."""
        if photo is None:
            return SAME, SAME
        box = box or {}
        files = [file["path"] for file in box.get("files") or []]
        return {"text": box.get("text") or "", "files": [*files, photo["path"]]}, None

    def export(self, kind: str, request: gr.Request) -> dict[str, Any] | None:
        """The conversation as a file to save, `markdown` or `json`; None where it is empty."""
        chat = self._chat(request)
        if not chat.exchanges:
            return None
        if kind == "markdown":
            return {"type": kind, "text": markdown_of(chat, self.engine.backend.name, _language(request))}
        return {"type": kind, "content": {"messages": messages_of(chat.system, chat.exchanges)}}

    def stop(self, request: gr.Request) -> None:
        """Stop the answer being written; what is there of it stays."""
        self._chat(request).stop()

    def leave(self, request: gr.Request) -> None:
        """The browser's tab was closed or loaded anew: stop the model and forget."""
        self.chats.forget(str(request.session_hash))

    def api_chat(
        self,
        question: str,
        pictures: list[dict[str, Any]] = [],  # noqa: B006  (Gradio shows the default; nothing changes it)
        history: list[dict[str, Any]] = [],  # noqa: B006
        system: str = "",
        max_new_tokens: int = GenerationSettings.max_new_tokens,
        temperature: float = GenerationSettings.temperature,
        top_p: float = GenerationSettings.top_p,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Answer a question from a program, which sends what was said before; yields the growing answer."""
        try:
            told = [{"role": "system", "content": system}] if system else []
            asked = {"role": "user", "content": [question, *(pictures or [])]}
            messages = read_messages([*told, *(history or []), asked], uploads=True)
            check_messages(messages, sees=self.engine.backend.sees, name=self.engine.backend.name)
            settings = _api_settings(max_new_tokens, temperature, top_p, seed)
            answer = ""
            for piece in self.engine.stream(messages, settings, threading.Event()):
                if isinstance(piece, str):
                    answer += piece
                    yield answer
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def api_model(self) -> dict[str, Any]:
        """The model that answers: its name, and whether it takes pictures."""
        return {"name": self.engine.backend.name, "sees": self.engine.backend.sees}

    def _ask(
        self, request: gr.Request, text: str, files: list[str], settings: Sequence[Any]
    ) -> Iterator[Updates]:
        language = _language(request)
        if missing := "lt_need_question" if not text else self._blind(files):
            yield unchanged(problem(say(missing, language)))
            return
        try:
            asked = Question(text, tuple(keep_picture(receive_picture(file)) for file in files))
        except UserError as error:
            yield unchanged(problem(explain(error, language)))
            return
        yield from self._answer(request, len(self._chat(request).exchanges), asked, settings)

    def _answer(
        self, request: gr.Request, number: int, asked: Question, given: Sequence[Any], to_box: bool = True
    ) -> Iterator[Updates]:
        """Answer a question that takes the place of exchange `number` and of those after it."""
        language = _language(request)
        try:
            system, settings = read_settings(given)
        except UserError as error:
            yield unchanged(problem(explain(error, language)))
            return
        except (TypeError, ValueError, OverflowError):
            yield unchanged(problem(say("lt_no_number", language)))
            return
        asking = Asking(self._chat(request), number, asked, system, settings, language, to_box)
        yield from answer(self.engine, asking)

    def _blind(self, files: list[str]) -> str | None:
        return "lt_blind" if files and not self.engine.backend.sees else None

    def _chat(self, request: gr.Request) -> Chat:
        return self.chats.of(str(request.session_hash))

    def _mirror(self, chat: Chat, request: gr.Request, box: Any = None) -> Updates:
        """The page as the conversation is now."""
        chatbot = gr.update(
            value=shown(chat.exchanges, _language(request)), feedback_value=thumbs(chat.exchanges)
        )
        return Updates(chatbot, box or idle(), "", kept_by_browser(chat))


def read_settings(given: Sequence[Any]) -> tuple[str, GenerationSettings]:
    """(system prompt, settings) from the page's fields.

    Args:
        given: system prompt, temperature, top-p, maximum new tokens, repetition penalty; the seed as text.

    Raises:
        TypeError, ValueError, OverflowError: a field is empty or holds no number.
        UserError: a number is out of its range.
    """
    system, temperature, top_p, length, penalty, seed = given
    numbers = GenerationSettings(
        max_new_tokens=int(length),
        temperature=float(temperature),
        top_p=float(top_p),
        repetition_penalty=float(penalty),
        seed=int(seed) if (seed or "").strip() else None,
    )
    return (system or "").strip(), numbers


def _api_settings(max_new_tokens: Any, temperature: Any, top_p: Any, seed: Any) -> GenerationSettings:
    """What a program set, which Gradio hands on as it came."""
    try:
        return GenerationSettings(
            int(max_new_tokens), float(temperature), float(top_p), seed=None if seed is None else int(seed)
        )
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            "max_new_tokens, temperature, top_p and seed are numbers; leave out what you don't set"
        ) from None


def _exchange(index: int | tuple[int, int] | list[int]) -> int:
    """The exchange that a message of the chatbot component belongs to: each has two of them."""
    return (index if isinstance(index, int) else index[0]) // 2


def _language(request: gr.Request) -> Language:
    return browser_language(request.headers.get("accept-language"))
