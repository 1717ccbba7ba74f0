"""What happens on the page that compares models. Its layout is in `compare.py`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from app.comparison import VOTES, Comparison, Comparisons, Votes, ask_both
from app.conversation import receive_picture
from app.engine import wait_for_end
from app.markdown import verbatim
from app.models import NoSuchModelError, Shelf
from app.pages.compare_html import EMPTY_HEADS, Growing, ballot, head
from app.pages.words import Words, words_of
from app.status import idle, note, problem, writing
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, GenerationSettings

REDRAW_SECONDS = 0.08  # a browser redraws the growing answers at most this often
SAME: Any = gr.skip()


class Updates(NamedTuple):
    """Of what the page shows; the order is that of the events' outputs."""

    left_head: Any = SAME
    left: Any = SAME
    right_head: Any = SAME
    right: Any = SAME
    votes: Any = SAME
    box: Any = SAME
    status: Any = SAME


CLEARED = Updates(EMPTY_HEADS[0], [], EMPTY_HEADS[1], [], "", idle(), "")


def read_settings(max_length: Any, temperature: Any, words: Words) -> GenerationSettings:
    """From the page's fields.

    Raises:
        UserError: a field is empty, holds no number, or one out of its range.
    """
    try:
        return GenerationSettings(int(max_length), float(temperature))
    except (TypeError, ValueError, OverflowError):
        raise UserError(words.plain("lt_no_number")) from None


class CompareHandlers:
    """Behaviour of one question to two models. Every public method is an event listener."""

    def __init__(self, shelf: Shelf, votes: Votes) -> None:
        self.shelf = shelf
        self.votes = votes
        self.comparisons = Comparisons()

    def models(self) -> tuple[Any, Any]:
        """What there is to choose now, for both menus."""
        names = self.shelf.names()
        return gr.update(choices=names), gr.update(choices=names)

    def ask(
        self,
        box: dict[str, Any],
        left: str,
        right: str,
        blind: bool,
        max_length: float,
        temperature: float,
        beginning: Any,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """Answer a question with any number of pictures twice, in pieces."""
        session, words = str(request.session_hash), words_of(request)
        text, files = (box.get("text") or "").strip(), [str(file["path"]) for file in box["files"]]
        comparison, beginning = self.comparisons.of(session), _number(beginning)
        if comparison.beginning == beginning and not wait_for_end(comparison):
            yield Updates(status=note(words.plain("lt_busy")))
            return
        try:
            if not text:
                raise UserError(words.plain("lt_need_question"))
            chosen = self.chosen(left, right, words)
            asked = ChatMessage("user", text, tuple(receive_picture(file) for file in files))
            settings = read_settings(max_length, temperature, words)
        except UserError as error:
            yield Updates(status=problem(words.explain(error)))
            return
        wanted = (chosen, blind, beginning)
        if (comparison.chosen, comparison.blind, comparison.beginning) != wanted or (
            blind and comparison.voted
        ):
            comparison = Comparison.of(*wanted)
            self.comparisons.put(session, comparison)
        comparison.settings = settings
        shown: list[dict[str, Any]] = [{"role": "user", "content": {"path": file}} for file in files]
        shown.append({"role": "user", "content": verbatim(text)})
        yield from self._answer(session, comparison, asked, shown, words, box)

    def vote(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Keep a vote, and tell the names."""
        comparison, words = self.comparisons.of(str(request.session_hash)), words_of(request)
        if comparison.voted is not None:  # a second click
            return Updates()
        try:
            if event.vote not in VOTES:
                raise UserError(f"{event.vote!r} is no vote; choose one of {', '.join(VOTES)}")
            record = comparison.vote(event.vote)
            try:
                self.votes.add(record)
            except UserError:
                comparison.take_back_vote()
                raise
        except UserError as error:
            return Updates(status=problem(words.explain(error)))
        heads = [head(comparison, number) for number in (0, 1)]
        return Updates(left_head=heads[0], right_head=heads[1], votes=ballot(words, comparison), status="")

    def stop(self, request: gr.Request) -> None:
        """Stop the answers being written; what is there of them stays."""
        self.comparisons.of(str(request.session_hash)).stop()

    def clear(self, beginning: Any, request: gr.Request) -> Updates:
        """Stop, and start afresh; unless the visitor has asked since, and that came here first."""
        if _number(beginning) <= self.comparisons.of(str(request.session_hash)).beginning:
            return Updates()
        self.comparisons.forget(str(request.session_hash))
        return CLEARED

    def leave(self, request: gr.Request) -> None:
        """The browser's tab was closed or loaded anew."""
        self.comparisons.forget(str(request.session_hash))

    def chosen(self, left: Any, right: Any, words: Words) -> tuple[str, str]:
        """The two models that a request names.

        Raises:
            UserError: the shelf has no such model, or both are the same.
        """
        known = self.shelf.names()
        for name in (left, right):
            if name not in known:
                raise NoSuchModelError(f"there is no model {name!r}; choose one of {', '.join(known)}")
        if len(known) < 2:
            raise UserError(words.plain("lt_one_model", folder=self.shelf.folder or "models"))
        if left == right:
            raise UserError(words.plain("lt_same_models"))
        return left, right

    def _answer(
        self,
        session: str,
        comparison: Comparison,
        asked: ChatMessage,
        shown: list[dict[str, Any]],
        words: Words,
        box: dict[str, Any],
    ) -> Iterator[Updates]:
        cancel = comparison.cancel = threading.Event()
        comparison.answered, comparison.voted = False, None
        sides = comparison.sides
        growing = [Growing(side, shown, words) for side in sides]
        for side in sides:
            side.note = ""

        def draw(**rest: Any) -> Updates:
            heads = [head(comparison, number) for number in (0, 1)]
            chats = [one.drawn() for one in growing]
            return Updates(heads[0], chats[0], heads[1], chats[1], **rest)

        empty = {"text": "", "files": []}
        try:
            yield draw(votes=ballot(words, comparison), box={"value": empty} | writing(), status="")
            drawn = 0.0
            conversations = [[*side.messages, asked] for side in sides]
            models = [side.model for side in sides]
            settings = comparison.settings or GenerationSettings()
            for number, piece in ask_both(self.shelf, models, conversations, settings, cancel):
                growing[number].take(piece, "AB"[number] if comparison.hidden else "")
                if time.monotonic() - drawn >= REDRAW_SECONDS and not cancel.is_set():
                    yield draw(box=writing())
                    drawn = time.monotonic()
        finally:
            stopped = cancel.is_set() and not all(one.ended for one in growing)
            answered = [one.keep(asked, stopped) for one in growing]
            comparison.answered = all(answered)
            comparison.cancel = None  # from here on the next question may come
        if (now := self.comparisons.of(session)) is not comparison:
            # Cleared; pieces of this may still be on their way to the page, and would come again as its last.
            yield CLEARED if now.beginning < 0 else Updates()
            return
        if comparison.cancel is not None:  # the next question has come, and the page shows that
            yield Updates()
            return
        back = idle()
        if not any(answered):  # the question returns to its box
            back |= {"value": {"text": asked.text, "files": box.get("files") or []}}
        said = "lt_stopped" if stopped else "lt_no_vote" if any(answered) and not all(answered) else ""
        yield draw(
            votes=ballot(words, comparison),
            box=back,
            status=note(words.plain(said)) if said else "",
        )


def _number(beginning: Any) -> int:
    """Which of a page's comparisons, as its script counts them; the first is 0."""
    return beginning if isinstance(beginning, int) else 0
