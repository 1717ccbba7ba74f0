"""What the model is taught to say of what it cannot do: photographs, and talk in Chinese beyond pictures."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping

from llava_tuning.data.everyday.table import Split
from llava_tuning.data.phrases import DESCRIBE, Language

PHOTOGRAPH_ANSWERS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "I only know simple drawings, so I may be wrong about a photograph like this.",
        "This looks like a photograph; I only know simple drawings and may be wrong about it.",
        "I cannot say: I only know simple drawings, and this is more than that.",
    ),
    "zh": (
        "我只认识简单的图画，这样的照片我可能会看错。",
        "这看起来是照片，我只认识简单的图画，可能会说错。",
        "我说不准：我只认识简单的图画。",
    ),
}
CHINESE_ANSWERS = (
    "抱歉，我的中文有限，只能回答关于图片的简短问题。",
    "我的中文只够回答关于图片的简短问题。",
    "这个问题超出了我的中文能力，我只能回答关于图片的简短问题。",
    "用中文我只能回答关于图片的简短问题，别的还不会。",
)
_PHOTOGRAPH_SIGNS: Mapping[Language, str] = {"en": "simple drawings", "zh": "简单的图画"}
_CHINESE_SIGN = re.compile("只[能够]回答关于图片的简短问题")

# What people ask about a photograph: things in general, and one thing that may be in it.
_PHOTOGRAPH_QUESTIONS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "what is it?",
        "what is this?",
        "what does the picture show?",
        "what can you see in the picture?",
        "who is this?",
        "where was this taken?",
        "what is in the image?",
        "is it an animal?",
        "what color is it mostly?",
        "how many people are there?",
        "what is happening here?",
        "is there a car in the picture?",
    ),
    "zh": (
        "这是什么？",
        "图片里是什么？",
        "你看到了什么？",
        "这是谁？",
        "这是在哪里拍的？",
        "这是动物吗？",
        "它主要是什么颜色？",
        "图片里有几个人？",
        "这里发生了什么？",
        "图片里有汽车吗？",
    ),
}
_TOPICS: Mapping[Split, tuple[str, ...]] = {
    "train": (
        *(
            "春天",
            "大海",
            "友谊",
            "电影",
            "历史",
            "数学",
            "足球",
            "音乐",
            "北京",
            "经济",
            "健康",
            "茶",
            "月亮",
        ),
        *(
            "人工智能",
            "环境保护",
            "唐朝",
            "旅行",
            "读书",
            "时间",
            "家庭",
            "幸福",
            "地球",
            "恐龙",
            "咖啡",
            "火车",
        ),
        *("雪", "学习", "工作", "手机", "互联网", "长城", "中秋节", "太阳", "民主", "光合作用", "重力", "猫"),
    ),
    "test": ("秋天", "上海", "篮球", "画画", "物理", "爱情", "火星", "饺子", "故宫", "睡眠", "诗歌", "飞机"),
}
_FRAMES: Mapping[Split, tuple[str, ...]] = {
    "train": (
        "{}是什么？",
        "请介绍一下{}。",
        "给我讲讲{}。",
        "写一首关于{}的诗。",
        "写一篇关于{}的作文。",
        "为什么人们喜欢{}？",
        "你怎么看{}？",
        "{}有什么意义？",
        "关于{}，你知道些什么？",
        "用三句话解释{}。",
        "{}的历史是怎样的？",
        "我想了解{}。",
        "你能聊聊{}吗？",
        "可以谈谈{}吗？",
        "你知道{}吗？",
    ),
    "test": ("能说说{}吗？", "请写一个关于{}的故事。", "{}有哪些特点？", "我对{}很感兴趣，你呢？"),
}
_WHOLE: Mapping[Split, tuple[str, ...]] = {
    "train": (
        *("今天天气怎么样？", "讲个笑话。", "唱首歌吧。"),
        *(
            "一加一等于几？",
            "中国的首都是哪里？",
            "怎么做西红柿炒鸡蛋？",
            "帮我写一封信。",
        ),
        *(
            "把“苹果”翻译成英语。",
            "我今天很难过。",
            "推荐一本书。",
            "怎样学好英语？",
            "世界上最高的山是什么？",
        ),
        *("写一个排序程序。", "给我的猫起个名字。", "明天星期几？", "讲个故事吧。"),
    ),
    "test": (
        *(
            "晚饭吃什么好？",
            "法国的首都是哪里？",
            "怎么煮米饭？",
            "十减三等于几？",
            "你喜欢什么颜色？",
            "说个谜语。",
        ),
        *("帮我写一份简历。", "最近有什么新闻？", "我睡不着怎么办？", "请用中文自我介绍。", "怎么去火车站？"),
    ),
}


def photograph_turn(language: Language, rng: random.Random) -> tuple[str, str]:
    """A question about a photograph, and an answer that says what the model knows."""
    asked = (*_PHOTOGRAPH_QUESTIONS[language], rng.choice(DESCRIBE[language]))
    return rng.choice(asked), rng.choice(PHOTOGRAPH_ANSWERS[language])


def chinese_questions(split: Split) -> Iterator[str]:
    """Open questions in Chinese without a picture; no topic and no wording of one split is in the other."""
    yield from _WHOLE[split]
    for topic in _TOPICS[split]:
        for frame in _FRAMES[split]:
            yield frame.format(topic)


def declines_photograph(answer: str, language: Language) -> bool:
    """Whether an answer says that the model knows drawings only."""
    return _PHOTOGRAPH_SIGNS[language] in answer.lower()


def declines_chinese(answer: str) -> bool:
    """Whether an answer says in Chinese that the model's Chinese is for short questions about pictures."""
    return _CHINESE_SIGN.search(answer) is not None
