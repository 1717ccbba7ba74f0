"""Fit a conversation into a model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import BlindModelError, ChatMessage


def check_messages(messages: Sequence[ChatMessage], *, sees: bool, name: str) -> None:
    """Refuse what no model can answer.

    Raises:
        UserError: the last turn is not a question, or a picture comes from anyone but the user.
        BlindModelError: there are pictures, and the model called `name` takes none.
    """
    if not messages or messages[-1].role != "user":
        raise UserError("the last message is not the user's; end with a question")
    if not messages[-1].text.strip() and not messages[-1].images:
        raise UserError("the question is empty; type one or add a picture")
    for message in messages:
        if message.images and message.role != "user":
            raise UserError(f"a message of role {message.role!r} has a picture; only the user's may")
        if message.images and not sees:
            raise BlindModelError(
                f"{name} is a text model and takes no pictures; choose a LLaVA model or ask in text only"
            )


def fit_context(
    messages: Sequence[ChatMessage],
    render: Callable[[Sequence[ChatMessage]], list[int]],
    max_length: int,
    max_new_tokens: int,
) -> tuple[list[ChatMessage], list[int], int]:
    """Forget the oldest exchanges until the prompt leaves room for an answer.

    A system turn and the last question always stay. Room is kept for `max_new_tokens`, but never for more
    than a quarter of the context, so that asking for long answers does not cost the whole memory. When the
    exchange with the newest picture is forgotten, the picture moves in front of the oldest question that is
    kept: later questions are about it, and the first question is where models see it in training.

    Args:
        messages: the conversation, as `check_messages` accepts it.
        render: token ids of a prompt.
        max_length: the model's context in tokens.
        max_new_tokens: the longest answer wanted.

    Returns:
        the messages kept, their ids, and how many tokens the answer may take.

    Raises:
        UserError: the last question alone leaves no room.
    """
    reserve = min(max_new_tokens, max(1, max_length // 4))
    kept = list(messages)
    while True:
        ids = render(kept)
        if len(ids) + reserve <= max_length:
            return kept, ids, min(max_new_tokens, max_length - len(ids))
        shorter = _forget_oldest(kept)
        if shorter is None:
            break
        kept = shorter
    room = max_length - len(ids)
    if room < 1:
        raise UserError(
            f"the question takes {len(ids):,} tokens, but the model's context is {max_length:,}; shorten it"
        )
    return kept, ids, min(max_new_tokens, room)


def _forget_oldest(messages: list[ChatMessage]) -> list[ChatMessage] | None:
    """Without the oldest question and what follows it up to the next one; None if only one is left."""
    questions = [i for i, message in enumerate(messages) if message.role == "user"]
    if len(questions) < 2:
        return None
    first, second = questions[:2]
    rest = list(messages[second:])
    if not any(message.images for message in rest):
        rest[0] = replace(rest[0], images=messages[first].images[-1:])
    return [message for message in messages[:first] if message.role == "system"] + rest
