"""Conversations as programs send them with each question, and the pictures of visitors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage
from llava_tuning.models.pictures import open_picture, picture_from_data_url

MAX_PICTURES = 50  # in one conversation
MAX_SIDE = 1344  # pixels kept of a picture's longer side: encoders see 336, or four of these in a row


def receive_picture(path: str) -> Image.Image:
    """Decode an uploaded file, at most MAX_SIDE pixels a side.

    Raises:
        UserError: not a readable picture; names the file as the visitor knows it.
    """
    try:
        picture = open_picture(path)
    except UserError as error:
        raise type(error)(str(error).replace(path, Path(path).name)) from None
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
        UserError: another form, an address other than `data:`, or an unreadable picture; names the message.
    """
    messages: list[ChatMessage] = []
    count = 0
    for number, message in enumerate(given):
        role = _ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
        if role is None:
            raise UserError(f"messages[{number}] has no role; choose system, user or assistant")
        try:
            texts, pictures = _read_content(message.get("content"), uploads)
        except UserError as error:
            raise UserError(f"messages[{number}]: {error}") from None
        except RecursionError:
            raise UserError(f"messages[{number}]: lists within lists; send one list of parts") from None
        count += len(pictures)
        if count > MAX_PICTURES:
            raise UserError(f"the conversation has more than {MAX_PICTURES} pictures; leave the oldest out")
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


def _read_content(content: Any, uploads: bool) -> tuple[list[str], list[Image.Image]]:
    """(texts, pictures) of a message's content, or of a part of it."""
    if content is None:
        return [], []
    if isinstance(content, str):
        if any("\ud800" <= letter <= "\udfff" for letter in content):
            raise UserError("the text holds half a character (a lone surrogate); send whole Unicode")
        return [content], []
    if isinstance(content, list):
        read = [_read_content(part, uploads) for part in content]
        return [t for texts, _ in read for t in texts], [p for _, pictures in read for p in pictures]
    if isinstance(content, dict):
        kind, address = content.get("type"), content.get("image_url")
        if kind == "image_url":
            url = address.get("url") if isinstance(address, dict) else address
            if not isinstance(url, str):
                raise UserError("a picture has no url; send it as a data:image/...;base64 address")
            picture = picture_from_data_url(url)
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
            return [], [picture]
        if kind == "text" and isinstance(content.get("text"), str):
            return _read_content(content["text"], uploads)
        if uploads and isinstance(content.get("path"), str):
            return [], [receive_picture(content["path"])]
        if uploads and isinstance(content.get("file"), dict):
            return _read_content(content["file"], uploads)
        if uploads and isinstance(content.get("files"), list):
            return _read_content([content.get("text"), *content["files"]], uploads)
        raise UserError(f"a part of type {kind!r} is not supported; send text and image_url parts")
    raise UserError("the content is neither text nor a list of parts")
