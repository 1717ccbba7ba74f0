"""What the page that compares models shows of a comparison."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from app.comparison import VOTES, Comparison, Piece, Side
from app.engine import Waiting
from app.markdown import formatted, verbatim
from app.models import LoadError, Loading, NoSuchModelError
from app.pages.words import Words
from app.status import TYPING
from llava_tuning.inference.backend import ChatMessage, Finished


class Growing:
    """An answer that is being written, beside the question that it answers."""

    def __init__(self, side: Side, question: list[dict[str, Any]], words: Words) -> None:
        self._side = side
        self._question = question
        self._words = words
        self._text = ""
        self._began: float | None = None
        self._wrong = ""
        self.ended = False

    def take(self, piece: Piece, alias: str) -> None:
        """Another piece; in what goes wrong, the model's name gives way to its `alias`, if it has one."""
        side, words = self._side, self._words
        if isinstance(piece, str):
            self._began = self._began or time.monotonic()
            self._text += piece
            side.note = ""
        elif isinstance(piece, Loading):
            side.note = "" if alias else words.html("lt_side_loading")  # the app's own never loads
        elif isinstance(piece, Waiting):
            side.note = "" if alias else words.html("lt_side_waiting", ahead=piece.ahead)
        elif isinstance(piece, Finished):
            self.ended = True
            side.note = "" if alias else self._result(piece)  # speed tells who it is
        else:
            self.ended = True
            side.note = ""
            self._wrong = _hidden(piece, side.model, alias, words) if alias else words.explain(piece)

    def _result(self, finished: Finished) -> str:
        if finished.answer_tokens is None or self._began is None:
            return ""
        if finished.reason == "length":
            return self._words.html("lt_side_cut", tokens=finished.answer_tokens)
        seconds = max(time.monotonic() - self._began, 1e-3)
        speed = f"{finished.answer_tokens / seconds:.0f}"
        return self._words.html("lt_side_done", tokens=finished.answer_tokens, speed=speed)

    def drawn(self) -> list[dict[str, Any]]:
        """The side's conversation, with what there is of the answer."""
        answer = formatted(self._text) if self._text else "" if self.ended else TYPING
        if self._wrong:
            answer += f'\n\n<span class="lt-wrong">{verbatim(self._wrong)}</span>'
        said = [{"role": "assistant", "content": answer}] if answer else []
        return [*self._side.shown, *self._question, *said]

    def keep(self, asked: ChatMessage, stopped: bool) -> bool:
        """Remember question and answer; False where there is no answer, or half of one that failed."""
        self.ended = True
        text, whole = self._text.strip(), not self._wrong
        if not text:
            if whole and not stopped:
                self._wrong = self._words.plain("lt_empty")
            return False
        self._side.messages = [*self._side.messages, asked, ChatMessage("assistant", text)]
        self._side.shown, self._question = self.drawn(), []
        self._text = self._wrong = ""
        return whole


def _hidden(error: Exception, model: str, alias: str, words: Words) -> str:
    """What went wrong, without the model's name. A file's path would tell it too: that is in the terminal."""
    if isinstance(error, (LoadError, NoSuchModelError)):
        print(f"compare: {model}: {error}", file=sys.stderr, flush=True)
        return words.plain("lt_side_not_loaded", name=alias)
    return words.explain(error).replace(model, alias)


def head(comparison: Comparison, number: int) -> str:
    """Above a side: its letter, its model's name unless that is hidden, and how the answer went."""
    side = comparison.sides[number]
    name = "" if comparison.hidden else f"<b>{html.escape(side.model)}</b>"
    return f'<div class="lt-side-head"><i>{"AB"[number]}</i>{name}<small>{side.note}</small></div>'


EMPTY_HEADS = tuple(f'<div class="lt-side-head"><i>{letter}</i></div>' for letter in "AB")


def ballot(words: Words, comparison: Comparison) -> str:
    """The four votes; nothing until there are two answers."""
    if comparison.voted is not None:
        vote = words.plain(f"lt_vote_{comparison.voted}")
        return f'<p class="lt-voted" role="status">{words.html("lt_voted", vote=vote)}</p>'
    if not comparison.answered:
        return ""
    buttons = "".join(
        f'<button type="button" data-vote="{vote}">{words.html(f"lt_vote_{vote}")}</button>' for vote in VOTES
    )
    return f'<div class="lt-ballot" role="group" aria-label="{words.html("lt_vote")}">{buttons}</div>'
