"""Questions in batches: those about the same picture together, the others by their length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from PIL import Image

from llava_tuning.evaluation.asking import Picture, ask
from llava_tuning.inference.backend import GREEDY, ChatBackend, ChatMessage, GenerationSettings


class Echo:
    """Answers with the question, and keeps what each batch asked."""

    def __init__(self) -> None:
        self.batches: list[list[ChatMessage]] = []

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        self.batches.append([messages[-1] for messages in conversations])
        return [messages[-1].text for messages in conversations]


def colour(name: str) -> Picture:
    return Picture(name, lambda: Image.new("RGB", (8, 8), name))


def test_questions_about_a_picture_come_together_and_share_its_object() -> None:
    backend = Echo()
    asked: list[tuple[str, Picture | None]] = []
    for number in range(4):
        asked += [(f"{'long ' * number}{name}?", colour(name)) for name in ("red", "blue")]
        asked += [(f"{'long ' * number}?", None), (f"{'long ' * number}!", colour(f"rgb({number},0,0)"))]
    answers = ask(cast(ChatBackend, backend), asked, GREEDY, 4)
    assert answers == [text for text, _ in asked]
    several = [batch for batch in backend.batches if batch[0].text.endswith(("red?", "blue?"))]
    assert len(several) == 2
    for batch in several:
        assert len({id(cast(Any, message).images[0]) for message in batch}) == 1
    alone = [len(m.text) for batch in backend.batches if batch not in several for m in batch]
    assert alone == sorted(alone)
