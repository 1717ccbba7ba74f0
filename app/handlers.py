"""What happens when a visitor does something. The layout that calls these is in `ui.py`."""

from __future__ import annotations

import html
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.conversation import Conversation, Conversations, Tab, read_messages, receive_picture
from app.engine import Engine, Waiting
from app.markdown import formatted, verbatim
from app.strings import Language, browser_language, say
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, Finished, GenerationSettings
from llava_tuning.inference.context import check_messages

REDRAW_SECONDS = 0.05  # a browser redraws the growing answer at most this often
Updates = tuple[Any, Any, Any]  # of the chatbot, the question's box and the status line
SAME: Any = gr.skip()
TYPING = '<span class="lt-typing"><i></i><i></i><i></i></span>'  # until the first word


class Handlers:
    """Behaviour of the chat tabs. Every public method is an event listener; most return `Updates`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.chats = Conversations()

    def ask_text(
        self, box: dict[str, Any], max_length: int, top_p: float, temperature: float, request: gr.Request
    ) -> Iterator[Updates]:
        """Answer a question with any number of pictures, in pieces."""
        chat, language = self._chat(request, "text"), _language(request)
        text, files = (box.get("text") or "").strip(), list(box.get("files") or [])
        try:
            if files and not self.engine.backend.sees:
                raise UserError(say("lt_blind", language))
            if not text:
                raise UserError(say("lt_need_question", language))
            asked = ChatMessage("user", text, tuple(receive_picture(file) for file in files))
            settings = GenerationSettings(int(max_length), temperature, top_p)
        except UserError as error:
            yield SAME, SAME, _problem(str(error))
            return
        shown = [{"role": "user", "content": {"path": file}} for file in files]
        empty, full = {"text": "", "files": []}, {"text": text, "files": files}
        yield from self._answer(chat, asked, shown, settings, language, empty, full)

    def ask_picture(
        self,
        text: str,
        picture: dict[str, Any] | None,
        max_length: int,
        top_p: float,
        temperature: float,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """Answer a question about the picture beside the conversation, in pieces."""
        chat, language = self._chat(request, "picture"), _language(request)
        text = (text or "").strip()
        try:
            if picture is None:
                raise UserError(say("lt_need_picture", language))
            chat.look_at(picture["path"])
            if not text:
                raise UserError(say("lt_need_question", language))
            pictures = (chat.picture,) if chat.picture is not None and not chat.messages else ()
            asked = ChatMessage("user", text, pictures)
            settings = GenerationSettings(int(max_length), temperature, top_p)
        except UserError as error:
            yield SAME, SAME, _problem(str(error))
            return
        yield from self._answer(chat, asked, [], settings, language, "", text)

    def change_picture(self, picture: dict[str, Any] | None, request: gr.Request) -> Updates:
        """Another picture starts another conversation."""
        chat = self._chat(request, "picture")
        try:
            if not chat.look_at(picture["path"] if picture else None):
                return SAME, SAME, SAME
        except UserError as error:
            return [], _idle(), _problem(str(error))
        return [], _idle(), ""

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
            settings = _settings(max_new_tokens, temperature, top_p, seed)
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

    def stop(self, tab: Tab, request: gr.Request) -> None:
        """Stop the answer being written; what is there of it stays."""
        self._chat(request, tab).stop()

    def clear(self, tab: Tab, request: gr.Request) -> Updates:
        """Stop, and forget the conversation."""
        self._chat(request, tab).clear()
        return [], _idle(), ""

    def leave(self, request: gr.Request) -> None:
        """The browser's tab was closed or loaded anew: stop the model and forget."""
        self.chats.forget(str(request.session_hash))

    def _chat(self, request: gr.Request, tab: Tab) -> Conversation:
        return self.chats.of(str(request.session_hash), tab)

    def _answer(
        self,
        chat: Conversation,
        asked: ChatMessage,
        pictures: list[dict[str, Any]],
        settings: GenerationSettings,
        language: Language,
        empty: Any,
        full: Any,
    ) -> Iterator[Updates]:
        """Stream the answer and remember both sides; a question that got no answer returns to its box.

        Args:
            pictures: what the chatbot shows before the question's text.
            empty, full: the box's value without and with this question.
        """
        if chat.cancel is not None:
            yield SAME, SAME, _note(say("lt_busy", language))
            return
        cancel = chat.begin()
        before, messages = chat.shown, chat.messages
        question = [*before, *pictures, {"role": "user", "content": verbatim(asked.text)}]
        answer, status = "", ""
        try:
            yield [*question, _said(TYPING)], gr.update(value=empty, submit_btn=False, stop_btn=True), ""
            drawn = 0.0
            for piece in self.engine.stream([*messages, asked], settings, cancel):
                if isinstance(piece, Waiting):
                    yield SAME, SAME, _note(say("lt_in_line", language, ahead=piece.ahead))
                    continue
                if isinstance(piece, Finished):
                    continue
                answer += piece
                if time.monotonic() - drawn >= REDRAW_SECONDS and chat.cancel is cancel:
                    yield [*question, _said(formatted(answer))], SAME, ""
                    drawn = time.monotonic()
        except UserError as error:
            status = _problem(str(error))
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
            status = _problem(say("lt_failed", language, error=reason))
        finally:
            stopped = cancel.is_set()
            mine = chat.finish(cancel)
        if not mine:  # cleared in the meantime; pieces of this may still be on their way to the page
            if chat.cancel is None:
                yield chat.shown, _idle(), SAME
            return
        status = status or (_note(say("lt_stopped", language)) if stopped else "")
        answer = answer.strip()
        if answer:
            chat.messages = [*messages, asked, ChatMessage("assistant", answer)]
            chat.shown = [*question, _said(formatted(answer))]
            yield chat.shown, _idle(), status
        else:
            yield (
                before,
                gr.update(value=full, submit_btn=True, stop_btn=False),
                status or _note(say("lt_empty", language)),
            )


def _settings(max_new_tokens: Any, temperature: Any, top_p: Any, seed: Any) -> GenerationSettings:
    """What a program set, which Gradio hands on as it came."""
    try:
        return GenerationSettings(
            int(max_new_tokens), float(temperature), float(top_p), seed=None if seed is None else int(seed)
        )
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            "max_new_tokens, temperature, top_p and seed are numbers; leave out what you don't set"
        ) from None


def _idle() -> Any:
    """The question's box with its send button; what was typed meanwhile stays."""
    return gr.update(submit_btn=True, stop_btn=False)


def _said(answer: str) -> dict[str, Any]:
    return {"role": "assistant", "content": answer}


def _language(request: gr.Request) -> Language:
    return browser_language(request.headers.get("accept-language"))


def _note(text: str) -> str:
    return f'<p class="lt-note" role="status">{html.escape(text)}</p>'


def _problem(text: str) -> str:
    return f'<p class="lt-problem" role="alert">{html.escape(text)}</p>'
