"""Conversations as programs send them with each question, and the pictures of visitors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage
from llava_tuning.models.pictures import (
    MAX_PIXELS,
    PictureTooLargeError,
    open_picture,
    picture_from_data_url,
)

MAX_PICTURES = 50  # in one conversation
MAX_SIDE = 1344  # pixels kept of a picture's longer side: encoders see 336, or four of these in a row
MAX_PIXELS_SENT = MAX_PICTURES * MAX_SIDE**2  # in one conversation: what the page's own can have at most


def receive_picture(path: str) -> Image.Image:
    """Decode an uploaded file, at most MAX_SIDE pixels a side.

    Raises:
        UserError: not a readable picture; names the file as the visitor knows it.
    """
    return _Pictures(MAX_PIXELS).open_file(path)


class _Pictures:
    """Decodes pictures as long as they have no more than so many pixels together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self.count = 0

    def open_file(self, path: str) -> Image.Image:
        """An uploaded file, at most MAX_SIDE pixels a side."""
        try:
            return self._take(lambda most: open_picture(path, most))
        except UserError as error:
            raise type(error)(str(error).replace(path, Path(path).name)) from None

    def open_data_url(self, url: str) -> Image.Image:
        """A `data:` address, at most MAX_SIDE pixels a side."""
        return self._take(lambda most: picture_from_data_url(url, most))

    def _take(self, decode: Callable[[int], Image.Image]) -> Image.Image:
        self.count += 1
        if self.count > MAX_PICTURES:
            raise UserError(f"the conversation has more than {MAX_PICTURES} pictures; leave the oldest out")
        try:
            picture = decode(min(self._left, MAX_PIXELS))
        except PictureTooLargeError:
            if self._left >= MAX_PIXELS:  # too large by itself
                raise
            raise PictureTooLargeError(
                f"the conversation's pictures have more than {self._most:,} pixels together; make them "
                "smaller or leave the oldest out"
            ) from None
        self._left -= picture.width * picture.height
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        return picture


def read_messages(given: Sequence[Any], *, uploads: bool) -> list[ChatMessage]:
    """The messages of a conversation in any of the forms that programs send.

    A message is `{"role", "content"}`; its content a text, a part or a list of parts. Parts are texts,
    `{"type": "text", "text"}`, OpenAI's pictures `{"type": "image_url", "image_url": {"url": "data:..."}}`,
    and uploaded files as Gradio's components and clients write them: `{"path"}`, `{"type": "file", "file":
    {"path"}}`, `{"text", "files": [...]}`. A user's message of pictures alone, as the chatbot component keeps
    them, belongs to the message after it.

    Args:
        given: the messages, decoded from JSON.
        uploads: whether files may be named. What names them must have been checked by `app.uploads`.

    Raises:
        UserError: another form, an address other than `data:`, an unreadable picture, or more pictures or
            pixels than a conversation may have; names the message.
    """
    messages: list[ChatMessage] = []
    files = _Pictures(MAX_PIXELS_SENT)
    for number, message in enumerate(given):
        role = _ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
        if role is None:
            raise UserError(f"messages[{number}] has no role; choose system, user or assistant")
        try:
            texts, pictures = _read_content(message.get("content"), uploads, files)
        except UserError as error:
            raise UserError(f"messages[{number}]: {error}") from None
        except RecursionError:
            raise UserError(f"messages[{number}]: lists within lists; send one list of parts") from None
        read = ChatMessage(role, "\n".join(texts), tuple(pictures))
        before = messages[-1] if messages else None
        if before and before.role == read.role == "user" and before.images and not before.text:
            messages[-1] = replace(read, images=before.images + read.images)
        else:
            messages.append(read)
    return messages


_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",  # OpenAI's newer name for it
    "user": "user",
    "assistant": "assistant",
}


def _read_content(content: Any, uploads: bool, files: _Pictures) -> tuple[list[str], list[Image.Image]]:
    """(texts, pictures) of a message's content, or of a part of it."""
    if content is None:
        return [], []
    if isinstance(content, str):
        if any("\ud800" <= letter <= "\udfff" for letter in content):
            raise UserError("the text holds half a character (a lone surrogate); send whole Unicode")
        return [content], []
    if isinstance(content, list):
        read = [_read_content(part, uploads, files) for part in content]
        return [t for texts, _ in read for t in texts], [p for _, pictures in read for p in pictures]
    if isinstance(content, dict):
        kind, address = content.get("type"), content.get("image_url")
        if kind == "image_url":
            url = address.get("url") if isinstance(address, dict) else address
            if not isinstance(url, str):
                raise UserError("a picture has no url; send it as a data:image/...;base64 address")
            return [], [files.open_data_url(url)]
        if kind == "text" and isinstance(content.get("text"), str):
            return _read_content(content["text"], uploads, files)
        if uploads and isinstance(content.get("path"), str):
            return [], [files.open_file(content["path"])]
        if uploads and isinstance(content.get("file"), dict):
            return _read_content(content["file"], uploads, files)
        if uploads and isinstance(content.get("files"), list):
            return _read_content([content.get("text"), *content["files"]], uploads, files)
        raise UserError(f"a part of type {kind!r} is not supported; send text and image_url parts")
    raise UserError("the content is neither text nor a list of parts")
