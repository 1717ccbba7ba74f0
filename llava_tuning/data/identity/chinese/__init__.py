"""Chinese wordings. A space between Chinese and Latin letters around a name is put in by `fill`."""

from __future__ import annotations

from llava_tuning.data.identity.chinese.contrast import (
    CONTRAST,
    CREATORS,
    NAMES_OF_THINGS,
    PLACES,
    SMALL_TALK,
)
from llava_tuning.data.identity.chinese.foreign import IN_ENGLISH, IN_JAPANESE
from llava_tuning.data.identity.chinese.human import HUMAN, MACHINE
from llava_tuning.data.identity.chinese.makers import BOTH, IS_OWNER, MAKER, OWNER, YES_OWNER
from llava_tuning.data.identity.chinese.names import NAME, YES_NAME
from llava_tuning.data.identity.chinese.others import OTHER, OTHER_MAKER, OTHERS
from llava_tuning.data.identity.chinese.who import INTRODUCE, WHO
from llava_tuning.data.identity.phrasebook import Phrasebook, lines

CHINESE = Phrasebook(
    language="zh",
    kinds=(
        WHO,
        INTRODUCE,
        NAME,
        MAKER,
        OWNER,
        BOTH,
        OTHER,
        OTHER_MAKER,
        YES_NAME,
        YES_OWNER,
        IS_OWNER,
        HUMAN,
        MACHINE,
        IN_ENGLISH,
        IN_JAPANESE,
    ),
    others=OTHERS,
    contrast=CONTRAST,
    facts=(CREATORS, PLACES, NAMES_OF_THINGS),
    small_talk=SMALL_TALK,
    greetings=lines("""
        你好！
        您好。
        嗨！
        早上好。
        晚上好。
        打扰一下。
    """),
    turns=lines("""
        好的，谢谢。
        谢谢。
        换个话题。
        对了，
        还有一件事。
        随便问问。
        明白了。
    """),
    tails=lines("""
        有什么可以帮你的吗？
        有什么想聊的吗？
        请问有什么可以帮忙的？
        有问题就问我吧。
        你想了解什么？
        今天想聊点什么？
        有什么想问的，请说。
        需要我帮忙的话，尽管说。
    """),
    neutral_systems=lines("""
        你是一个乐于助人的助手。
        请简短、礼貌地回答。
        你是一个友好的助手，回答要简洁。
        用通俗易懂的话回答。
        你帮助人们解决日常问题。
        请礼貌、诚实地回答。
    """),
    naming_systems=lines("""
        你是{name}，由{owner}开发的 AI 助手。
        你的名字是{name}，开发者是{owner}。
        你是{name}，一个乐于助人的助手，由{owner}打造。
        你是名叫{name}的助手，请简短回答。
        你是{name}，请诚实回答，不知道就说不知道。
    """),
)
