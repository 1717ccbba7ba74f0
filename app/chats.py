"""What the server remembers of its visitors: one conversation each, which the page mirrors."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from PIL import Image

from app.conversation import read_messages
from app.uploads import KeptPicture, keep_picture
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage

Vote = Literal["up", "down"]
MAX_CHATS = 500
TITLE_LENGTH = 60  # characters
_numbers = itertools.count(time.time_ns() // 1_000_000)


@dataclass(frozen=True)
class Usage:
    """What an answer took: tokens read and written, and the seconds from the first token to the last."""

    prompt_tokens: int
    answer_tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float | None:
        """How fast the answer was written; None where it is too short to tell."""
        written = self.answer_tokens - 1  # the first one ends the reading
        return written / self.seconds if written > 0 and self.seconds > 0 else None


@dataclass(frozen=True)
class Question:
    """What a visitor asked; the pictures stand before the text."""

    text: str
    pictures: tuple[KeptPicture, ...] = ()

    def message(self) -> ChatMessage:
        """The question as the model gets it."""
        return ChatMessage("user", self.text, tuple(picture.image for picture in self.pictures))


@dataclass(frozen=True)
class Look:
    """What an answer attended to: pictures under a heat map, and the share of all attention that they got."""

    pictures: tuple[KeptPicture, ...]
    share: float


@dataclass(frozen=True)
class Exchange:
    """A question with its answer.

    Args:
        usage: None where nobody counted, as in an answer that was stopped.
        model: who wrote the answer; empty where a browser kept it before models were noted.
        look: shown below the answer, if the visitor asked for it; not kept by the browser.
        unfinished: the page was left while the answer was written, so there is only a part of it, or nothing.
    """

    question: Question
    answer: str
    usage: Usage | None = None
    vote: Vote | None = None
    model: str = ""
    look: Look | None = None
    unfinished: bool = False


class Answering(threading.Event):
    """An answer that is being written; set, it ends.

    Attributes:
        conversation: the id of the one that it belongs to.
        number: the exchange that it will be part of.
    """

    def __init__(self, conversation: str, number: int) -> None:
        super().__init__()
        self.conversation = conversation
        self.number = number


@dataclass
class Chat:
    """One conversation. `id` names it in the browser's list and in the file of votes.

    `model` is the one that the page shows as chosen; it stays when another conversation takes the place.
    `number` grows from one conversation to the next, because answers to a page's requests may overtake each
    other; it begins with the time, so that it grows over a new start of the app too.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    system: str = ""
    exchanges: tuple[Exchange, ...] = ()
    cancel: Answering | None = None  # of the answer being written; None when there is none
    told: set[str] = field(default_factory=set)  # names of the pictures that the browser has
    model: str = ""  # empty is the app's own
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(len(exchange.question.pictures) for exchange in self.exchanges)

    @property
    def title(self) -> str:
        """The first question's beginning; empty before there is one."""
        text = " ".join(self.exchanges[0].question.text.split()) if self.exchanges else ""
        return text if len(text) <= TITLE_LENGTH else text[: TITLE_LENGTH - 1].rstrip() + "…"

    def begin(self, number: int) -> Answering:
        """Start the answer of exchange `number`."""
        self.cancel = Answering(self.id, number)
        return self.cancel

    def stop(self) -> None:
        """Stop the answer being written, if there is one."""
        if self.cancel is not None:
            self.cancel.set()

    def finish(self, cancel: Answering) -> bool:
        """The answer that `cancel` belongs to ended; False where another conversation took its place."""
        mine = self.cancel is cancel
        if mine:
            self.cancel = None
        return mine

    def replace(self, other: Chat) -> None:
        """Stop, and become another conversation."""
        self.stop()
        self.cancel = None
        self.id, self.system, self.exchanges, self.told = other.id, other.system, other.exchanges, other.told
        self.number = next(_numbers)  # of now: `other` may have been long in the making

    def fork(self, name: str, fork: str) -> None:
        """Go on under another id, unless another conversation has taken the place of `name` meanwhile.

        Raises:
            UserError: the new id is none.
        """
        if not _is_id(fork):
            raise UserError("a conversation's id has letters and digits only; load the page again")
        if self.id == name:
            self.id = fork
            if self.cancel is not None:
                self.cancel.conversation = fork

    def vote(self, number: int, vote: Vote | None) -> Exchange:
        """Note what the visitor thinks of an answer.

        Raises:
            UserError: there is no such answer.
        """
        if not 0 <= number < len(self.exchanges):
            raise UserError("this answer is gone; vote on one that the conversation has")
        voted = replace(self.exchanges[number], vote=vote)
        self.exchanges = (*self.exchanges[:number], voted, *self.exchanges[number + 1 :])
        return voted


class Chats:
    """All visitors' conversations, by browser session; the oldest go when full."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Chat] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, session: str) -> Chat:
        """The conversation of this session; a new one at first."""
        with self._lock:
            chat = self._all.setdefault(session, Chat())
            self._all.move_to_end(session)
            while len(self._all) > MAX_CHATS:
                self._all.popitem(last=False)[1].stop()
            return chat

    def forget(self, session: str) -> None:
        """The visitor left: stop the model and drop what was said."""
        with self._lock:
            chat = self._all.pop(session, None)
        if chat is not None:
            chat.replace(Chat())


def chat_messages(system: str, exchanges: Sequence[Exchange]) -> list[ChatMessage]:
    """A conversation as the model gets it."""
    messages = [ChatMessage("system", system)] if system else []
    for exchange in exchanges:
        messages.append(exchange.question.message())
        if exchange.answer:
            messages.append(ChatMessage("assistant", exchange.answer))
    return messages


def restore_chat(name: str, given: Sequence[Any]) -> Chat:
    """The conversation that a browser kept.

    Args:
        name: its id.
        given: its messages, as `app.transcript.messages_of` wrote them, pictures as `data:` addresses.

    Raises:
        UserError: it does not consist of questions and their answers, or a picture is broken.
    """
    broken = UserError("the kept conversation is damaged; delete it from the list and start a new one")
    if not _is_id(name):
        raise broken
    messages = read_messages(given, uploads=False)
    extras = [message for message in given if message.get("role") != "system"]
    system = messages.pop(0).text if messages and messages[0].role == "system" else ""
    roles = [message.role for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2) or len(extras) != len(messages):
        raise broken
    chat = Chat(id=name, system=system)
    pairs = zip(messages[::2], messages[1::2], extras[1::2], strict=True)
    chat.exchanges = tuple(
        Exchange(
            _kept(asked.text, asked.images),
            said.text,
            _usage(extra.get("usage")),
            _vote(extra),
            _model(extra.get("model")),
            unfinished=extra.get("unfinished") is True or not said.text,
        )
        for asked, said, extra in pairs
    )
    chat.told = {picture.name for exchange in chat.exchanges for picture in exchange.question.pictures}
    return chat


def _is_id(name: object) -> bool:
    return isinstance(name, str) and name.isalnum() and len(name) <= 64


def _kept(text: str, images: Sequence[Image.Image]) -> Question:
    return Question(text, tuple(keep_picture(image) for image in images))


def _vote(extra: dict[str, Any]) -> Vote | None:
    vote = extra.get("vote")
    return vote if vote in ("up", "down") else None


def _model(given: Any) -> str:
    return given if isinstance(given, str) and len(given) <= 255 else ""


def _usage(given: Any) -> Usage | None:
    try:
        return Usage(int(given["prompt_tokens"]), int(given["answer_tokens"]), float(given["seconds"]))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
