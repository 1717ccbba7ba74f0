"""A question's way from the page to the model, and the answer's way back."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import gradio as gr

from app.chats import Chat, Exchange, Question, Usage, chat_messages
from app.engine import Waiting
from app.markdown import formatted
from app.models import Loading, Shelf
from app.status import TYPING, idle, note, problem, writing
from app.strings import Language, explain, say
from app.transcript import kept_by_browser, shown, shown_answer, shown_question, thumbs
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import BlindModelError, Finished, GenerationSettings

REDRAW_SECONDS = 0.05  # a browser redraws the growing answer at most this often
KEEP_SECONDS = 1.0  # a browser keeps the growing answer at most this often
A_BEGINNING = 20  # characters; a retry that is stopped before has not answered
SAME: Any = gr.skip()


class Updates(NamedTuple):
    """Of the chatbot, the question's box, the status line, and the browser's list of conversations."""

    chatbot: Any
    box: Any
    status: Any
    kept: Any


@dataclass(frozen=True)
class Asking:
    """A question that takes the place of exchange `number` of a chat, and of those after it.

    Args:
        model: the name of the one that answers.
        to_box: whether it returns to the box where it gets no answer.
    """

    chat: Chat
    number: int
    model: str
    question: Question
    system: str
    settings: GenerationSettings
    language: Language
    to_box: bool


def answer(shelf: Shelf, asking: Asking) -> Iterator[Updates]:
    """Stream the answer and remember both sides; where there is none, the chat stays as it was.

    An earlier answer in its place goes once there are words of the new one, and comes back where that fails.
    """
    chat, language = asking.chat, asking.language
    if chat.cancel is not None:
        yield unchanged(note(say("lt_busy", language)))
        return
    cancel = chat.begin(asking.number)
    takes_place = asking.number < len(chat.exchanges)
    before = chat.exchanges[: asking.number]
    attentive = shelf.attentive()
    question = [
        *shown(before, language, attentive, goes_on=True),
        shown_question(asking.question, language),
    ]
    messages = [*chat_messages(asking.system, before), asking.question.message()]
    text, status, usage = "", "", None

    def unfinished() -> dict[str, Any]:
        """For the browser: the page may be closed before the answer is whole. Votes may have come since."""
        written = Exchange(asking.question, text, model=asking.model, unfinished=True)
        exchanges = (*chat.exchanges[: asking.number], written)
        return kept_by_browser(replace(chat, system=asking.system, exchanges=exchanges))

    try:
        box = gr.update(value={"text": "", "files": []}) if asking.to_box else gr.update()
        chatbot = gr.update(value=[*question, shown_answer(TYPING)], feedback_value=thumbs(before))
        kept = SAME if takes_place else unfinished()
        yield Updates(chatbot, box | writing(), "", kept)
        drawn = began = told = 0.0
        for piece in shelf.stream(asking.model, messages, asking.settings, cancel):
            if isinstance(piece, Loading):
                yield unchanged(note(say("lt_loading", language, model=asking.model)))
                continue
            if isinstance(piece, Waiting):
                yield unchanged(note(say("lt_in_line", language, ahead=piece.ahead)))
                continue
            if isinstance(piece, Finished):
                usage = _usage(piece, time.monotonic() - began if began else 0.0)
                continue
            began = began or time.monotonic()
            text += piece
            if time.monotonic() - drawn >= REDRAW_SECONDS and chat.cancel is cancel:
                drawn = time.monotonic()
                kept = SAME
                if text.strip() and drawn - told >= KEEP_SECONDS:
                    whole = takes_place and not told  # the browser has the earlier answer still
                    kept, told = unfinished() if whole else {"id": chat.id, "answer": text}, drawn
                yield Updates([*question, shown_answer(formatted(text))], writing(), "", kept)
    except BlindModelError:
        key = "lt_blind" if asking.question.pictures else "lt_blind_conversation"
        status = problem(say(key, language, model=asking.model))
    except UserError as error:
        status = problem(explain(error, language))
    except Exception as error:
        traceback.print_exc()
        status = problem(say("lt_failed", language, error=f"{type(error).__name__}: {error}"))
    finally:
        stopped = cancel.is_set()
        text = text.strip()
        # What was stopped or failed so early does not take the place of a whole answer.
        answered = bool(text) and not (takes_place and (status or (stopped and len(text) < A_BEGINNING)))
        if chat.cancel is cancel and answered:
            chat.system = asking.system
            # Not `before`: there may be votes since.
            exchange = Exchange(asking.question, text, usage, model=asking.model)
            chat.exchanges = (*chat.exchanges[: asking.number], exchange)
        mine = chat.finish(cancel)  # from here on the next question may come
    if not mine:  # another conversation took its place; pieces of this may still be on their way to the page
        part = Exchange(asking.question, text, model=asking.model, unfinished=True)
        written = (part,) if part.answer else ()
        left = kept_by_browser(Chat(cancel.conversation, asking.system, (*before, *written))) | {"left": True}
        page = Updates(shown(chat.exchanges, language, attentive), idle(), SAME, SAME)
        yield (page if chat.cancel is None else unchanged())._replace(kept=left if written else SAME)
        return
    if chat.cancel is not None:  # the next question has come, and the page shows that
        yield unchanged()
        return
    box = idle()
    if answered:
        status = status or (note(say("lt_stopped", language)) if stopped else "")
    else:
        status = status or note(say("lt_stopped" if stopped else "lt_empty", language))
        if asking.to_box:
            files = [str(picture.path) for picture in asking.question.pictures]
            box |= {"value": {"text": asking.question.text, "files": files}}
    chatbot = gr.update(
        value=shown(chat.exchanges, language, attentive), feedback_value=thumbs(chat.exchanges)
    )
    yield Updates(chatbot, box, status, kept_by_browser(chat))


def unchanged(status: Any = SAME, chatbot: Any = SAME, kept: Any = SAME) -> Updates:
    """The page as it is, but for what is given."""
    return Updates(chatbot, SAME, status, kept)


def _usage(finished: Finished, seconds: float) -> Usage | None:
    if finished.prompt_tokens is None or finished.answer_tokens is None:
        return None
    return Usage(finished.prompt_tokens, finished.answer_tokens, seconds)
