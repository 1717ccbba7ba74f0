"""One question to two models at the same time, and what a visitor thinks of the answers."""

from __future__ import annotations

import hashlib
import json
import queue
import random
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from app.engine import Waiting
from app.models import Loading, Shelf
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, Finished, GenerationSettings

Vote = Literal["left", "right", "both_good", "both_bad"]
VOTES: tuple[Vote, ...] = ("left", "both_good", "both_bad", "right")
MAX_COMPARISONS = 500


Piece = str | Waiting | Finished | Loading | Exception


def ask_both(
    shelf: Shelf,
    names: Sequence[str],
    conversations: Sequence[Sequence[ChatMessage]],
    settings: GenerationSettings,
    cancel: threading.Event,
) -> Iterator[tuple[int, Piece]]:
    """Ask each model its own conversation; yields (0 or 1, piece) as pieces come, an error as a last piece.

    Setting `cancel` ends both, and so does closing the iterator.
    """
    pieces: queue.Queue[tuple[int, Piece | None]] = queue.Queue()

    def ask(side: int) -> None:
        try:
            for piece in shelf.stream(names[side], conversations[side], settings, cancel):
                pieces.put((side, piece))
        except Exception as error:
            pieces.put((side, error))
        finally:
            pieces.put((side, None))

    sides = range(len(names))
    for side in sides:
        threading.Thread(target=ask, args=(side,), name="comparison", daemon=True).start()
    open_sides = set(sides)
    try:
        while open_sides:
            side, piece = pieces.get()
            if piece is None:
                open_sides.discard(side)
            else:
                yield side, piece
    finally:
        cancel.set()


@dataclass
class Side:
    """One model's part of a comparison: what it was asked and said, and the same as the chatbot shows it."""

    model: str
    messages: list[ChatMessage] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""  # above the conversation, as HTML


@dataclass
class Comparison:
    """What a visitor compares.

    Args:
        chosen: the two models, in the order in which they were chosen.
        blind: names stay hidden until the vote, and who is left is drawn by lot.
        beginning: how often the page had begun anew; what is older comes late. Negative before any question.
    """

    chosen: tuple[str, str] = ("", "")
    blind: bool = False
    beginning: int = -1
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(""), Side("")))
    settings: GenerationSettings | None = None
    cancel: threading.Event | None = None  # of the answers being written
    answered: bool = False  # both models, and there is no vote yet
    voted: Vote | None = None

    @classmethod
    def of(cls, chosen: tuple[str, str], blind: bool, beginning: int = 0) -> Comparison:
        """A new one."""
        left, right = random.sample(chosen, 2) if blind else chosen
        return cls(chosen, blind, beginning, (Side(left), Side(right)))

    @property
    def hidden(self) -> bool:
        """Whether names must not be told."""
        return self.blind and self.voted is None

    def stop(self) -> None:
        """Stop the answers being written, if there are any."""
        if self.cancel is not None:
            self.cancel.set()

    def take_back_vote(self) -> None:
        """As before `vote`: it could not be kept."""
        self.answered, self.voted = True, None

    def vote(self, vote: Vote) -> dict[str, Any]:
        """Take a vote on the last answers; returns it as it is kept.

        Raises:
            UserError: there are no two answers to vote on.
        """
        if not self.answered or self.settings is None:
            raise UserError("there are no two answers to vote on; ask both models first")
        self.answered, self.voted = False, vote
        asked = self.sides[0].messages[-2]
        return {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "vote": vote,
            "blind": self.blind,
            "question": asked.text,
            "pictures": [picture_hash(image) for image in asked.images],
            "left": _kept(self.sides[0]),
            "right": _kept(self.sides[1]),
            "settings": {name: value for name, value in asdict(self.settings).items() if value != ()},
        }


class Comparisons:
    """All visitors' comparisons by browser session; the oldest go when full."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Comparison] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, session: str) -> Comparison:
        """The session's comparison; an empty one at first."""
        with self._lock:
            return self._all.get(session) or Comparison()

    def put(self, session: str, comparison: Comparison) -> None:
        """Begin another one; what is being written for the one before stops."""
        with self._lock:
            if (before := self._all.pop(session, None)) is not None:
                before.stop()
            self._all[session] = comparison
            while len(self._all) > MAX_COMPARISONS:
                self._all.popitem(last=False)[1].stop()

    def forget(self, session: str) -> None:
        """The visitor left, or starts afresh: stop the models and drop what was said."""
        with self._lock:
            if (before := self._all.pop(session, None)) is not None:
                before.stop()


class Votes:
    """The JSONL file that votes go to: models, question, hashes of the pictures, both conversations, vote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, vote: Mapping[str, Any]) -> None:
        """Append one.

        Raises:
            UserError: the file cannot be written.
        """
        line = json.dumps(vote, ensure_ascii=False) + "\n"
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line)
        except OSError as error:
            raise UserError(
                f"the vote cannot be kept: {self.path.name} cannot be written ({error.strerror}); start the "
                "app with another --feedback DIR"
            ) from None


def picture_hash(image: Image.Image) -> str:
    """SHA-256 of a picture's size and pixels."""
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _kept(side: Side) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.text} for message in side.messages]
    return {"model": side.model, "messages": messages}
