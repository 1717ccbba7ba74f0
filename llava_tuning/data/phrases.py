"""Phrasings that several data sets share: how people ask for a description, and small grammar."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

Language = Literal["en", "zh"]
LanguageChoice = Literal["en", "zh", "both"]
LANGUAGES: Mapping[LanguageChoice, tuple[Language, ...]] = {
    "en": ("en",),
    "zh": ("zh",),
    "both": ("en", "zh"),
}

# LLaVA's own list of requests for a brief description (its appendix, "Instructions for brief image
# description") with plainer ones added; a projector trained on one phrasing alone follows only that one.
DESCRIBE_PROMPTS = (
    "Describe the image concisely.",
    "Provide a brief description of the given image.",
    "Offer a succinct explanation of the picture presented.",
    "Summarize the visual content of the image.",
    "Give a short and clear explanation of the image.",
    "Share a concise interpretation of the image provided.",
    "Present a compact description of the photo's key features.",
    "Relay a brief, clear account of the picture shown.",
    "Render a clear and concise summary of the photo.",
    "Write a terse but informative summary of the picture.",
    "Create a compact narrative representing the image presented.",
    "What is in this picture?",
    "What do you see?",
    "What does the image show?",
    "Describe this picture.",
    "Please describe the image.",
)
DESCRIBE_PROMPTS_ZH = (
    "请描述这张图片。",
    "简单描述一下这张图。",
    "用一句话描述这张图片。",
    "请简要说明图片的内容。",
    "图片里有什么？",
    "这张图里有什么？",
    "你看到了什么？",
    "这张图片展示了什么？",
    "说说这张图的内容。",
    "请概括一下这张图片。",
)
DESCRIBE: Mapping[Language, tuple[str, ...]] = {"en": DESCRIBE_PROMPTS, "zh": DESCRIBE_PROMPTS_ZH}


def as_typed(turns: Iterable[tuple[str, str]], key: str) -> list[tuple[str, str]]:
    """(question, answer) pairs, half of whose questions (by chance) begin with a capital, the rest do not.

    People type both. Where all questions begin with one and all requests for a description with the other, a
    model goes by the letter and describes what it was asked a question about.

    Args:
        key: chooses which; the same key, the same letters.
    """
    rng = random.Random(f"typed {key}")
    begin = (str.upper, str.lower)
    return [(rng.choice(begin)(question[:1]) + question[1:], answer) for question, answer in turns]


def with_article(phrase: str) -> str:
    """The phrase with "a" or "an" in front, e.g. `an orange circle`."""
    return f"{'an' if phrase[:1].lower() in 'aeiou' else 'a'} {phrase}"


def join_list(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
