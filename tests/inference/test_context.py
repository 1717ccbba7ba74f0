"""What is forgotten when a conversation outgrows the context."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage
from llava_tuning.inference.context import fit_context

PICTURE, OTHER = Image.new("RGB", (4, 4)), Image.new("RGB", (5, 5))


def render(messages: Sequence[ChatMessage]) -> list[int]:
    """One token a word, ten a picture."""
    return [0] * sum(len(message.text.split()) + 10 * len(message.images) for message in messages)


def exchange(number: int, *images: Image.Image) -> list[ChatMessage]:
    return [ChatMessage("user", f"question {number}", images), ChatMessage("assistant", f"answer {number}")]


LAST = ChatMessage("user", "last question")
SYSTEM = ChatMessage("system", "be brief")


def test_all_is_kept_while_it_fits() -> None:
    messages = [SYSTEM, *exchange(1), LAST]
    kept, ids, room = fit_context(messages, render, max_length=100, max_new_tokens=20)
    assert kept == messages
    assert (len(ids), room) == (8, 20)


def test_the_oldest_exchanges_go_first_and_the_system_turn_stays() -> None:
    messages = [SYSTEM, *exchange(1), *exchange(2), *exchange(3), LAST]
    kept, ids, room = fit_context(messages, render, max_length=14, max_new_tokens=4)
    assert kept == [SYSTEM, *exchange(3), LAST]
    assert len(ids) + room <= 14


def test_the_newest_picture_stays_in_front_of_the_oldest_question_kept() -> None:
    messages = [*exchange(1, PICTURE), *exchange(2, OTHER), *exchange(3), LAST]
    kept, _, _ = fit_context(messages, render, max_length=23, max_new_tokens=4)
    assert [message.text for message in kept] == ["question 3", "answer 3", "last question"]
    assert [message.images for message in kept] == [(OTHER,), (), ()]


def test_long_answers_do_not_cost_the_memory() -> None:
    messages = [*exchange(1), LAST]
    kept, ids, room = fit_context(messages, render, max_length=12, max_new_tokens=2048)
    assert kept == messages
    assert room == 12 - len(ids)


def test_a_question_that_alone_is_too_long_is_an_error() -> None:
    with pytest.raises(UserError, match=r"30 tokens.*context is 20"):
        fit_context([*exchange(1), ChatMessage("user", "word " * 30)], render, 20, 5)
