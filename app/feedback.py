"""Where visitors' votes go: a file that only grows, with the pictures beside it."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from app.chats import Chat
from app.transcript import messages_of
from app.uploads import KeptPicture
from llava_tuning.data.embedded_pictures import save_data_url
from llava_tuning.data.feedback import answer_id
from llava_tuning.errors import UserError

FILE = "feedback.jsonl"
_PICTURES = "pictures"


def feedback_directory() -> Path:
    """Where votes go unless told otherwise, in the user's data directory: no cache, and writable anywhere."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "llava-tuning" / "feedback"


class Feedback:
    """The votes of one directory, which is made with the first. Safe to use from several threads at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()

    def store(self, chat: Chat, number: int, model: str) -> None:
        """Write the vote on the answer of exchange `number`, with the conversation up to it.

        Args:
            model: who wrote the answer, where the exchange does not say.

        Raises:
            UserError: the directory cannot be written.
        """
        try:
            with self._lock:
                self.directory.mkdir(parents=True, exist_ok=True)
                line = json.dumps(self._record(chat, number, model), ensure_ascii=False)
                with (self.directory / FILE).open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
        except OSError as error:
            raise UserError(
                f"{self.directory}: votes cannot be written ({error.strerror}); "
                "start the app with --feedback DIR"
            ) from None

    def _record(self, chat: Chat, number: int, model: str) -> dict[str, object]:
        exchanges = chat.exchanges[: number + 1]

        def save(picture: KeptPicture) -> str:
            return save_data_url(picture.data_url(), self.directory, _PICTURES)

        messages = messages_of(chat.system, exchanges, save)
        for message in messages:
            message.pop("vote", None)  # each vote has a record of its own
        return {
            "id": answer_id(chat.id, messages),
            "conversation": chat.id,
            "vote": exchanges[-1].vote,
            "model": exchanges[-1].model or model,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "messages": messages,
        }
