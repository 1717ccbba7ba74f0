"""The wordings of scenes, by language: questions, captions, and the names of what they are about.

Both languages have as many wordings of each kind, so the same draws choose them, and a scene is asked and
described alike in both. Things are named by their English words ("red circle") and translated word by word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from llava_tuning.data.phrases import Language, join_list, with_article


@dataclass(frozen=True)
class Words:
    """One language's wordings.

    Attributes:
        questions: kind of question → its wordings, with the fields `noun`, `a` (noun with its article),
            `plural`, `other` and `others` (a second thing, one or several) and `relation`.
        captions: of any scene, with the fields `plain` and `sized` (what is there, without and with sizes),
            `Plain` (for the start of a sentence), `is_are` and `objects` (how many).
        pair_captions: of two objects. corner_captions: of one.
        listing: (name, how many) of each kind of thing → a list in words.
    """

    questions: Mapping[str, tuple[str, ...]]
    captions: tuple[str, ...]
    pair_captions: tuple[str, ...]
    corner_captions: tuple[str, ...]
    noun: Callable[[str], str]
    plural: Callable[[str], str]
    a: Callable[[str], str]
    answer: Callable[[str, str], str]
    listing: Callable[[Sequence[tuple[str, int]]], str]
    objects: Callable[[int], str]

    def fields(self, noun: str = "", other: str = "", relation: str = "") -> dict[str, str]:
        """What a wording may hold, of one or two things named by their English words."""
        out = {"noun": self.noun(noun), "a": self.a(noun), "plural": self.plural(noun)}
        out |= {"other": self.noun(other), "other_a": self.a(other), "others": self.plural(other)}
        return out | {"relation": self.noun(relation)}


_NUMBERS = ("no", "one", "two", "three", "four", "five")
_EN_QUESTIONS = {
    "present": (
        "is there {a}?",
        "is there {a} in the image?",
        "is {a} present?",
        "does the image contain {a}?",
        "do you see {a}?",
    ),
    "absent": (
        "is there not {a}?",
        "is there not {a} in the image?",
        "is no {noun} present?",
        "does the image not contain {a}?",
    ),
    "count all": ("how many objects are there?", "how many shapes are in the image?"),
    "count": ("how many {plural} are there?", "how many {plural} are in the image?"),
    "colour": ("what color is the {noun}?", "what is the color of the {noun}?"),
    "only shape": (
        "what shape is in the image?",
        "what shape does the image contain?",
        "what shape is present?",
    ),
    "shape": ("what is the {noun} shape?", "what shape is the {noun} object?"),
    "size": ("what size is the {noun}?", "is the {noun} small, medium or large?"),
    "position": ("where is the {noun}?", "in which corner of the image is the {noun}?"),
    "relation": ("is the {noun} {relation} the {other}?",),
    "neighbour": ("what is {relation} the {noun}?",),
    "more": ("are there more {plural} than {others}?",),
    "larger": ("is the {noun} larger than the {other}?", "is the {noun} smaller than the {other}?"),
}
_ZH_QUESTIONS = {
    "present": (
        "有{noun}吗？",
        "图片里有{noun}吗？",
        "有没有{noun}？",
        "图中有{noun}吗？",
        "图上有没有{noun}？",
    ),
    # A Chinese "yes" to a negative question is ambiguous unless it is asked whether the statement is right.
    "absent": (
        "没有{noun}，对吗？",
        "图片里没有{noun}，对吗？",
        "这里没有{noun}，对不对？",
        "图中没有{noun}，对吗？",
    ),
    "count all": ("有几个物体？", "图片里有几个图形？"),
    "count": ("有几个{plural}？", "图片里有几个{plural}？"),
    "colour": ("{noun}是什么颜色的？", "{noun}的颜色是什么？"),
    "only shape": ("图片里是什么形状？", "图中有什么形状？", "这是什么形状？"),
    "shape": ("{noun}的图形是什么形状？", "{noun}的物体是什么形状？"),
    "size": ("{noun}有多大？", "{noun}是小号、中号还是大号？"),
    "position": ("{noun}在哪里？", "{noun}在图片的哪个角？"),
    "relation": ("{noun}在{other}的{relation}吗？",),
    "neighbour": ("{noun}的{relation}是什么？",),
    "more": ("{plural}比{others}多吗？",),
    "larger": ("{noun}比{other}大吗？", "{noun}比{other}小吗？"),
}
_ZH = {
    **{"circle": "圆形", "rectangle": "长方形", "triangle": "三角形", "star": "星形", "diamond": "菱形"},
    **{"cross": "十字形", "ring": "圆环", "heart": "心形", "shape": "图形", "object": "物体"},
    **{"black": "黑色", "blue": "蓝色", "brown": "棕色", "gray": "灰色", "green": "绿色", "red": "红色"},
    **{"teal": "青色", "yellow": "黄色", "orange": "橙色", "purple": "紫色"},
    **{"small": "小号", "medium": "中号", "large": "大号"},
    **{"top left": "左上角", "top right": "右上角", "bottom left": "左下角", "bottom right": "右下角"},
    **{"to the left of": "左边", "to the right of": "右边", "above": "上面", "below": "下面"},
}
_ZH_YES_NO = {"present": ("有", "没有"), "absent": ("对", "不对")}  # the others: 是, 不是
_ZH_NUMBERS = ("零", "一", "两", "三", "四", "五")


def _en_plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("cross") else f"{noun}s"


def _en_listing(things: Sequence[tuple[str, int]]) -> str:
    return join_list([with_article(n) if k == 1 else f"{_NUMBERS[k]} {_en_plural(n)}" for n, k in things])


def _en_objects(number: int) -> str:
    return "One object" if number == 1 else f"{_NUMBERS[number].capitalize()} objects"


def _zh_noun(noun: str) -> str:
    return _ZH[noun] if noun in _ZH else "".join(_ZH[word] for word in noun.split())


def _zh_answer(kind: str, answer: str) -> str:
    if answer in ("yes", "no"):
        return _ZH_YES_NO.get(kind, ("是", "不是"))[answer == "no"]
    return answer if answer.isdecimal() else _zh_noun(answer)


def _zh_listing(things: Sequence[tuple[str, int]]) -> str:
    parts = [f"{_ZH_NUMBERS[number]}个{_zh_noun(name)}" for name, number in things]
    return parts[0] if len(parts) == 1 else f"{'、'.join(parts[:-1])}和{parts[-1]}"


ENGLISH = Words(
    questions=_EN_QUESTIONS,
    captions=(
        "{plain}",
        "{sized}",
        "{Plain}.",
        "The image shows {sized}.",
        "The picture contains {plain}.",
        "There {is_are} {plain} in the image.",
        "I see {sized}.",
        "{objects}: {plain}.",
        "This is a picture of {plain}.",
    ),
    pair_captions=("{a} {relation} {other_a}", "The {noun} is {relation} the {other}."),
    corner_captions=("{a} at the {where}",),
    noun=str,
    plural=_en_plural,
    a=with_article,
    answer=lambda kind, answer: answer,
    listing=_en_listing,
    objects=_en_objects,
)
CHINESE = Words(
    questions=_ZH_QUESTIONS,
    captions=(
        "{plain}",
        "{sized}",
        "{plain}。",
        "图中有{sized}。",
        "图片里有{plain}。",
        "画面中可以看到{plain}。",
        "我看到{sized}。",
        "{objects}：{plain}。",
        "这张图画的是{plain}。",
    ),
    pair_captions=("{a}在{other_a}的{relation}", "{noun}在{other}的{relation}。"),
    corner_captions=("{where}有{a}",),
    noun=_zh_noun,
    plural=_zh_noun,
    a=lambda noun: f"一个{_zh_noun(noun)}",
    answer=_zh_answer,
    listing=_zh_listing,
    objects=lambda number: f"{_ZH_NUMBERS[number]}个物体",
)
WORDS: dict[Language, Words] = {"en": ENGLISH, "zh": CHINESE}


@cache
def chinese_twin(text: str, answer: str) -> tuple[str, str]:
    """An English question about one or no thing, of these wordings, and its answer in Chinese.

    Raises:
        ValueError: no such wording.
    """
    for kind, wordings in _EN_QUESTIONS.items():
        for number, wording in enumerate(wordings):
            noun = r"((?:\w+ )?\w+)"
            pattern = re.escape(wording).replace(r"\{a\}", f"an? {noun}").replace(r"\{noun\}", noun)
            if match := re.fullmatch(pattern, text):
                fields = CHINESE.fields(*match.groups())
                return _ZH_QUESTIONS[kind][number].format(**fields), _zh_answer(kind, answer)
    raise ValueError(f"{text!r} is none of the known wordings")
