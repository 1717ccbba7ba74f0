"""How everyday pictures are described and asked about, by language; both have as many wordings of a kind.

Fields: `noun` a thing's name, `a` the name with its article, `other` a second name, `kind` several things of
a kind (animals), `colour`; in answers and captions `list` names all things from left to right.
"""

from __future__ import annotations

from collections.abc import Mapping

from llava_tuning.data.phrases import Language

QUESTIONS: Mapping[Language, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "name": (
            "what is it?",
            "what is this?",
            "what does the picture show?",
            "what can you see in the picture?",
            "what is in the image?",
        ),
        "colour": ("what color is it mostly?", "which color does it have most?", "what color is this?"),
        "colour of": ("what color is the {noun}?", "which color does the {noun} have most?"),
        "existence": (
            "is there {a} in the picture?",
            "do you see {a}?",
            "does the image show {a}?",
            "is there {a}?",
        ),
        "absent thing": (
            "what color is the {noun}?",
            "which color does the {noun} have most?",
            "where is the {noun}?",
            "what is the {noun} doing?",
            "how big is the {noun}?",
        ),
        "count": ("how many things are in the picture?", "how many things do you see?"),
        "count kind": ("how many {kind} are in the picture?", "how many {kind} do you see?"),
        "left": ("what is on the left?",),
        "middle": ("what is in the middle?",),
        "right": ("what is on the right?",),
        "place": ("where is the {noun}?", "on which side is the {noun}?"),
        "order": ("is the {noun} to the left of the {other}?", "is the {noun} to the right of the {other}?"),
    },
    "zh": {
        "name": ("这是什么？", "图片里是什么？", "图上画的是什么？", "你看到了什么？", "图中是什么？"),
        "colour": ("它主要是什么颜色？", "它哪种颜色最多？", "这是什么颜色的？"),
        "colour of": ("{noun}是什么颜色的？", "{noun}主要是什么颜色？"),
        "existence": ("图片里有{noun}吗？", "你看到{noun}了吗？", "图中有没有{noun}？", "有{noun}吗？"),
        "absent thing": (
            "{noun}是什么颜色的？",
            "{noun}主要是什么颜色？",
            "{noun}在哪里？",
            "{noun}在做什么？",
            "{noun}有多大？",
        ),
        "count": ("图片里有几样东西？", "你看到几样东西？"),
        "count kind": ("图片里有几个{kind}？", "你看到几个{kind}？"),
        "left": ("左边是什么？",),
        "middle": ("中间是什么？",),
        "right": ("右边是什么？",),
        "place": ("{noun}在哪里？", "{noun}在哪一边？"),
        "order": ("{noun}在{other}的左边吗？", "{noun}在{other}的右边吗？"),
    },
}
ANSWERS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "yes": "yes",
        "no": "no",
        "there": "yes",
        "not there": "no",
        "left": "left",
        "middle": "middle",
        "right": "right",
        "absent thing": "I see no {noun} in the picture.",
    },
    "zh": {
        "yes": "是",
        "no": "不是",
        "there": "有",
        "not there": "没有",
        "left": "左边",
        "middle": "中间",
        "right": "右边",
        "absent thing": "图片里没有{noun}。",
    },
}
CAPTIONS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "{list}",
        "The picture shows {list}.",
        "A drawing of {list}.",
        "This is {list}.",
        "I see {list}.",
        "There is {list} in the picture.",
    ),
    "zh": (
        "{list}",
        "图中是{list}。",
        "图片里有{list}。",
        "这张图画的是{list}。",
        "我看到{list}。",
        "这是{list}。",
    ),
}
COLOUR_CAPTIONS: Mapping[Language, tuple[str, ...]] = {
    "en": ("A drawing of {list}, mostly {colour}.",),
    "zh": ("图中是{list}，主要是{colour}。",),
}
ROW_CAPTIONS: Mapping[Language, tuple[str, ...]] = {
    "en": ("From left to right: {list}.", "{list}, side by side", "The picture shows {list}."),
    "zh": ("从左到右：{list}。", "{list}，并排放着", "图片里有{list}。"),
}
