"""What one visitor has said and been told in one tab, as the server remembers it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage
from llava_tuning.models.pictures import open_picture

Tab = Literal["text", "picture"]
MAX_CONVERSATIONS = 500
MAX_SIDE = 1344  # pixels kept of a picture's longer side: encoders see 336, or four of these in a row


@dataclass
class Conversation:
    """Messages for the model, and the same as the chatbot component shows them."""

    messages: list[ChatMessage] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    cancel: threading.Event | None = None  # of the answer being written; None when there is none
    picture_path: str | None = None  # the picture tab's current picture
    picture: Image.Image | None = None

    def begin(self) -> threading.Event:
        """Start an answer; its event stops it."""
        self.cancel = threading.Event()
        return self.cancel

    def stop(self) -> None:
        """Stop the answer being written, if there is one."""
        if self.cancel is not None:
            self.cancel.set()

    def clear(self) -> None:
        """Stop, and forget what was said. The picture stays."""
        self.stop()
        self.cancel = None
        self.messages, self.shown = [], []

    def finish(self, cancel: threading.Event) -> bool:
        """The answer that `cancel` belongs to ended; False where it was cleared before."""
        mine = self.cancel is cancel
        if mine:
            self.cancel = None
        return mine

    def look_at(self, path: str | None) -> bool:
        """Make this the picture that is talked about; another picture starts another conversation.

        Returns:
            whether it is another one.

        Raises:
            UserError: the file is no readable picture.
        """
        if path == self.picture_path:
            return False
        self.clear()
        self.picture_path, self.picture = None, None
        if path is not None:
            self.picture = receive_picture(path)
            self.picture_path = path
        return True


class Conversations:
    """All visitors' conversations, by browser session and the app's tab; the oldest go when full."""

    def __init__(self) -> None:
        self._all: OrderedDict[tuple[str, Tab], Conversation] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, session: str, tab: Tab) -> Conversation:
        """The conversation of this session in this tab; a new one at first."""
        with self._lock:
            chat = self._all.setdefault((session, tab), Conversation())
            self._all.move_to_end((session, tab))
            while len(self._all) > MAX_CONVERSATIONS:
                self._all.popitem(last=False)[1].stop()
            return chat

    def forget(self, session: str) -> None:
        """The visitor left: stop the model and drop what was said."""
        tabs: tuple[Tab, ...] = ("text", "picture")
        with self._lock:
            for tab in tabs:
                chat = self._all.pop((session, tab), None)
                if chat is not None:
                    chat.clear()


def receive_picture(path: str) -> Image.Image:
    """Decode an uploaded file, at most MAX_SIDE pixels a side.

    Raises:
        UserError: not a readable picture; names the file as the visitor knows it.
    """
    try:
        picture = open_picture(path)
    except UserError as error:
        raise UserError(str(error).replace(path, Path(path).name)) from None
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture
