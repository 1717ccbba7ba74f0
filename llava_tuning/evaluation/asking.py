"""Ask a model many questions in batches, each about a picture, a blank one or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings

BLANK_COLOUR = (128, 128, 128)


@dataclass(frozen=True)
class Picture:
    """A picture that is read or drawn when it is needed; `key` tells it from the others."""

    key: str
    load: Callable[[], Image.Image]


def blank_picture(side: int) -> Picture:
    """Plain gray."""
    return Picture(f"blank {side}", lambda: Image.new("RGB", (side, side), BLANK_COLOUR))


def ask(
    backend: ChatBackend,
    asked: Sequence[tuple[str, Picture | None]],
    settings: GenerationSettings,
    batch_size: int,
    progress: Callable[[int], None] = lambda done: None,
    answered: Callable[[int, str], None] = lambda index, answer: None,
) -> list[str]:
    """Answers to (text, picture) in their order.

    Args:
        progress: called with the number of questions asked so far.
        answered: called with the index and answer of each question as soon as its batch is done.
    """
    # Questions about the same picture come one after the other: each batch reads a picture once. The others
    # are sorted by length, so that little is padded.
    times = Counter(_key(picture) for _, picture in asked)
    order = sorted(range(len(asked)), key=lambda i: _place(*asked[i], times))
    answers = [""] * len(asked)
    for start in range(0, len(order), batch_size):
        progress(start)
        batch = order[start : start + batch_size]
        pictures = {picture.key: picture.load() for i in batch if (picture := asked[i][1])}
        conversations = []
        for i in batch:
            text, picture = asked[i]
            images = () if picture is None else (pictures[picture.key],)
            conversations.append([ChatMessage("user", text, images)])
        for i, answer in zip(batch, backend.answer_batch(conversations, settings), strict=True):
            answers[i] = answer
            answered(i, answer)
    progress(len(asked))
    return answers


def _place(text: str, picture: Picture | None, times: Mapping[str, int]) -> tuple[bool, str, int]:
    key = _key(picture)
    several = bool(key) and times[key] > 1
    return several, key if several else "", len(text)


def _key(picture: Picture | None) -> str:
    return picture.key if picture else ""
