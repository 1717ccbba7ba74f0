"""Where an answer looked: from a click below it to the pictures under a heat map."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from app.answering import Updates, unchanged
from app.chats import Chat, Exchange, Look, chat_messages
from app.engine import Waiting
from app.heat_map import draw_attention
from app.models import Shelf
from app.status import note, problem
from app.strings import Language, explain, say
from app.transcript import shown, thumbs
from app.uploads import keep_picture
from llava_tuning.errors import UserError


def look(shelf: Shelf, chat: Chat, number: Any, language: Language) -> Iterator[Updates]:
    """Show below answer `number` what it attended to, or hide it where it is shown."""
    if chat.cancel is not None:
        yield unchanged(note(say("lt_busy", language)))
        return
    if not (isinstance(number, int) and 0 <= number < len(chat.exchanges)):
        yield unchanged()
        return
    exchange, found = chat.exchanges[number], None
    if not exchange.look:
        try:
            for piece in _find(shelf, chat, number, language):
                if isinstance(piece, str):
                    yield unchanged(note(piece))
                else:
                    found = piece
        except UserError as error:
            yield unchanged(problem(explain(error, language)))
            return
        except Exception as error:
            traceback.print_exc()
            yield unchanged(problem(say("lt_failed", language, error=f"{type(error).__name__}: {error}")))
            return
        if found is None:
            yield unchanged(note(say("lt_look_gone", language)))
            return
    # Meanwhile there may be another conversation, other answers, a vote on this one.
    now = chat.exchanges[number] if number < len(chat.exchanges) else None
    if now is None or now.question is not exchange.question or now.answer != exchange.answer:
        yield unchanged()
        return
    looked: Exchange = replace(now, look=found)
    chat.exchanges = (*chat.exchanges[:number], looked, *chat.exchanges[number + 1 :])
    if chat.cancel is not None:  # the answer being written shows it when it is done
        yield unchanged()
        return
    messages = shown(chat.exchanges, language, shelf.attentive())
    yield unchanged("", gr.update(value=messages, feedback_value=thumbs(chat.exchanges)))


def _find(shelf: Shelf, chat: Chat, number: int, language: Language) -> Iterator[str | Look]:
    """Yields what to tell meanwhile, then what was found; nothing where the context has lost the pictures."""
    exchange = chat.exchanges[number]
    if exchange.model not in shelf.attentive():
        raise UserError(say("lt_look_not_here", language, model=exchange.model))
    messages = [*chat_messages(chat.system, chat.exchanges[:number]), exchange.question.message()]
    loaded = shelf.is_loaded(exchange.model)
    yield say("lt_looking", language) if loaded else say("lt_loading", language, model=exchange.model)
    with shelf.use(exchange.model) as engine:
        for piece in engine.picture_attention(messages, exchange.answer, threading.Event()):
            if isinstance(piece, Waiting):
                yield say("lt_in_line", language, ahead=piece.ahead)
            elif piece:
                pictures = tuple(keep_picture(drawn) for drawn in draw_attention(piece))
                yield Look(pictures, sum(float(one.weights.sum()) for one in piece))
