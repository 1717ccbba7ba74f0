"""What happens when a visitor does something in the chat. What calls it is in `pages/chat.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.answering import SAME, Asking, Updates, answer, unchanged
from app.chats import Chat, Chats, Question, restore_chat
from app.conversation import MAX_PICTURES, receive_picture
from app.engine import wait_for_end
from app.feedback import Feedback
from app.looking import look
from app.mark import EYE
from app.models import Shelf
from app.pages.chat_settings import read_settings
from app.status import idle, note, problem
from app.strings import Language, browser_language, explain, say
from app.transcript import Shown, kept_by_browser, markdown_of, messages_of, shown, thumbs
from app.uploads import keep_picture
from llava_tuning.errors import UserError


class Chosen(NamedTuple):
    """Updates of the chatbot, the status line, the menu of models, and what only models that see have."""

    chatbot: Any = SAME
    status: Any = SAME
    picker: Any = SAME
    camera: Any = SAME
    picture_cards: Any = SAME


class Handlers:
    """Behaviour of the chat. Every public method is an event listener; most return `Updates`.

    `settings` are the model's name, then the fields' values in the order of `read_settings`.
    """

    def __init__(self, shelf: Shelf, feedback: Feedback) -> None:
        self.shelf = shelf
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
            yield unchanged(said, chatbot=self._shown(chat, language))
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
        if chat.cancel is not None and number >= chat.cancel.number:
            given = thumbs(before[: chat.cancel.number])
            return unchanged(note(say("lt_vote_later", language)), gr.update(feedback_value=given))
        try:
            chat.vote(number, "up" if event.liked is True else "down" if event.liked is False else None)
            self.feedback.store(chat, number, self.shelf.own.backend.name)
        except UserError as error:
            chat.exchanges = before
            return unchanged(problem(explain(error, language)), gr.update(feedback_value=thumbs(before)))
        said = "lt_thanks" if chat.exchanges[number].vote else "lt_vote_taken_back"
        # What is being written is not among the exchanges yet; the browser gets the vote with it.
        kept = kept_by_browser(chat) if chat.cancel is None else SAME
        return unchanged(note(say(said, language)), kept=kept)

    def begin_anew(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Stop, and start another conversation; `deleted` where another window deleted this one."""
        chat = self._chat(request)
        chat.replace(Chat())
        status = note(say("lt_gone", _language(request))) if event.deleted else ""
        return self._mirror(chat, request)._replace(status=status)

    def reopen(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Continue a conversation that the browser kept; `Updates`, its system prompt, and its last model.

        To `refresh` the one that is open, as another window left it, an answer is not interrupted.
        """
        chat, language = self._chat(request), _language(request)
        if event.refresh and (chat.cancel is not None or chat.id != event.id):
            return *unchanged(), SAME, SAME
        try:
            chat.replace(restore_chat(event.id, event.messages))
        except UserError as error:
            return *unchanged(problem(explain(error, language))), SAME, SAME
        wrote, names = chat.exchanges[-1].model if chat.exchanges else "", self.shelf.names()
        picker = gr.update(value=wrote, choices=names) if wrote in names else SAME
        return *self._mirror(chat, request), chat.system, picker

    def fork(self, request: gr.Request, event: gr.EventData) -> None:
        """The browser keeps the conversation under another id: another window went on with it."""
        self._chat(request).fork(event.id, event.fork)

    def look(self, request: gr.Request, event: gr.EventData) -> Iterator[Updates]:
        """Show what an answer attended to, or no longer."""
        yield from look(self.shelf, self._chat(request), event.number, _language(request))

    def models(self) -> Any:
        """The menu of models as they are now: one may have been exported since."""
        return gr.update(choices=self.shelf.names())

    def choose(self, name: Any, request: gr.Request) -> Iterator[Chosen]:
        """Load a model for the next questions; where that fails, the one before stays chosen."""
        chat, language, own = self._chat(request), _language(request), self.shelf.own.backend.name
        before, name = chat.model or own, str(name)
        if name == before:
            yield Chosen()
            return
        try:
            if not self.shelf.is_loaded(name):
                yield Chosen(status=note(say("lt_loading", language, model=name)))
            with self.shelf.use(name) as engine:
                sees = engine.backend.sees
        except UserError as error:
            yield Chosen(status=problem(explain(error, language)), picker=gr.update(value=before))
            return
        chat.model = name
        blind = chat.pictures and not sees
        yield Chosen(
            gr.update(placeholder=f"{EYE}\n\n{say('lt_welcome' if sees else 'lt_welcome_blind', language)}"),
            note(say("lt_blind_conversation", language, model=name)) if blind else "",
            camera=gr.update(visible=sees),
            picture_cards=gr.update(visible=sees),
        )

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
            return {"type": kind, "text": markdown_of(chat, self.shelf.own.backend.name, _language(request))}
        return {"type": kind, "content": {"messages": messages_of(chat.system, chat.exchanges)}}

    def stop(self, request: gr.Request) -> None:
        """Stop the answer being written; what is there of it stays."""
        self._chat(request).stop()

    def leave(self, request: gr.Request) -> None:
        """The browser's tab was closed or loaded anew: stop the model and forget."""
        self.chats.forget(str(request.session_hash))

    def _ask(
        self, request: gr.Request, text: str, files: list[str], settings: Sequence[Any]
    ) -> Iterator[Updates]:
        language = _language(request)
        if not text:
            yield unchanged(problem(say("lt_need_question", language)))
            return
        try:
            asked = Question(text, tuple(keep_picture(receive_picture(file)) for file in files))
        except UserError as error:
            yield unchanged(problem(explain(error, language)))
            return
        chat = self._chat(request)
        wait_for_end(chat)  # where it goes on, `answer` says so
        if chat.pictures + len(asked.pictures) > MAX_PICTURES:
            yield unchanged(problem(say("lt_many_pictures", language, most=MAX_PICTURES)))
            return
        yield from self._answer(request, len(chat.exchanges), asked, settings)

    def _answer(
        self, request: gr.Request, number: int, asked: Question, given: Sequence[Any], to_box: bool = True
    ) -> Iterator[Updates]:
        """Answer a question that takes the place of exchange `number` and of those after it."""
        language = _language(request)
        try:
            model, *fields = given
            system, settings = read_settings(fields)
        except UserError as error:
            yield unchanged(problem(explain(error, language)))
            return
        except (TypeError, ValueError, OverflowError):
            yield unchanged(problem(say("lt_no_number", language)))
            return
        asking = Asking(self._chat(request), number, str(model), asked, system, settings, language, to_box)
        yield from answer(self.shelf, asking)

    def _shown(self, chat: Chat, language: Language) -> Shown:
        return shown(chat.exchanges, language, self.shelf.attentive())

    def _chat(self, request: gr.Request) -> Chat:
        return self.chats.of(str(request.session_hash))

    def _mirror(self, chat: Chat, request: gr.Request, box: Any = None) -> Updates:
        """The page as the conversation is now."""
        chatbot = gr.update(
            value=self._shown(chat, _language(request)), feedback_value=thumbs(chat.exchanges)
        )
        return Updates(chatbot, box or idle(), "", kept_by_browser(chat))


def _exchange(index: int | tuple[int, int] | list[int]) -> int:
    """The exchange that a message of the chatbot component belongs to: each has two of them."""
    return (index if isinstance(index, int) else index[0]) // 2


def _language(request: gr.Request) -> Language:
    return browser_language(request.headers.get("accept-language"))
