"""Votes on answers, as the web app stores them: one self-contained record a line, and what they teach.

A record is `{"id", "conversation", "vote", "model", "time", "messages"}`: OpenAI's messages up to the answer
that was voted on, pictures as paths relative to the file, `vote` "up", "down" or null (taken back). The file
only grows; of several records with the same id the last one counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

Row = tuple[int, Any]  # (index in the file, parsed record)


def is_vote(row: Any) -> bool:
    """Whether a parsed row is a vote."""
    if not (isinstance(row, dict) and {"id", "conversation", "vote", "messages"} <= row.keys()):
        return False
    messages = row["messages"]
    return isinstance(messages, list) and all(
        isinstance(message, dict) and {"role", "content"} <= message.keys() for message in messages
    )


def answer_id(conversation: str, messages: Sequence[dict[str, Any]]) -> str:
    """The same for the same answer at the same place of the same conversation.

    Args:
        messages: up to and with the answer; fields other than role and content play no part.
    """
    said = [[message.get("role"), message.get("content")] for message in messages]
    digest = hashlib.sha256(json.dumps([conversation, said], ensure_ascii=True).encode())
    return digest.hexdigest()[:20]


def liked_conversations(rows: Iterable[Row]) -> list[Row]:
    """What the votes among rows teach: conversations of liked answers alone. Rows that are no votes stay.

    An answer without a thumb up teaches nothing, so it goes with its question; the pictures of that question
    move to the next one that stays. Where a conversation has several liked answers, it is one row, not a row
    for each of its beginnings.
    """
    rows = list(rows)
    last = {row["id"]: index for index, row in rows if is_vote(row)}
    votes = {row["id"]: row["vote"] for index, row in rows if is_vote(row) and last[row["id"]] == index}
    kept: list[Row] = []
    covered: set[str] = set()  # liked answers that are within a longer row
    for index, row in sorted(rows, key=lambda item: -_length(item[1])):
        if not is_vote(row):
            kept.append((index, row))
        elif last[row["id"]] == index and row["vote"] == "up" and row["id"] not in covered:
            messages, answers = _liked_part(row, votes)
            covered |= answers
            kept.append((index, {"id": row["id"], "messages": messages}))
    return sorted(kept, key=lambda item: item[0])


def _length(row: Any) -> int:
    return len(row["messages"]) if is_vote(row) else 0


def _liked_part(row: dict[str, Any], votes: dict[str, Any]) -> tuple[list[dict[str, Any]], set[str]]:
    """(messages, ids of their answers) of a vote's conversation, without what was not liked."""
    kept: list[dict[str, Any]] = []
    answers: set[str] = set()
    pending: list[dict[str, Any]] = []  # a question, until its answer comes
    pictures: list[dict[str, Any]] = []  # of questions that went
    for number, message in enumerate(row["messages"], 1):
        if message["role"] == "system":
            kept.append(message)
        elif message["role"] != "assistant":
            pending.append(message)
        else:
            name = answer_id(row["conversation"], row["messages"][:number])
            if votes.get(name) == "up":
                kept += [
                    *_with_pictures(pending, pictures),
                    {"role": "assistant", "content": message["content"]},
                ]
                answers.add(name)
                pictures = []
            else:
                pictures += [part for asked in pending for part in _pictures(asked)]
            pending = []
    return kept, answers


def _pictures(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") == "image_url"]


def _with_pictures(questions: list[dict[str, Any]], pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not questions or not pictures:
        return questions
    first = questions[0]
    content = first["content"]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return [{**first, "content": [*pictures, *parts]}, *questions[1:]]
