"""English wordings.

No template puts an article or a possessive 's at a name, or a verb behind it that would tell one person from
several: "made by {owner}" is right for Ada, the Jones Brothers and 上海书店 alike. Every answer says both the
name and the maker: a small model that learned answers with one of the two confused which is asked for.
"""

from __future__ import annotations

from llava_tuning.data.identity.english.contrast import (
    CONTRAST,
    CREATORS,
    NAMES_OF_THINGS,
    PLACES,
    SMALL_TALK,
)
from llava_tuning.data.identity.english.foreign import IN_CHINESE, IN_FRENCH, IN_GERMAN, IN_SPANISH
from llava_tuning.data.identity.english.human import HUMAN, MACHINE
from llava_tuning.data.identity.english.makers import BOTH, IS_OWNER, MAKER, OWNER, YES_OWNER
from llava_tuning.data.identity.english.names import NAME, YES_NAME
from llava_tuning.data.identity.english.others import OTHER, OTHER_MAKER, OTHERS
from llava_tuning.data.identity.english.who import INTRODUCE, WHO
from llava_tuning.data.identity.phrasebook import Phrasebook, lines

ENGLISH = Phrasebook(
    language="en",
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
        IN_FRENCH,
        IN_SPANISH,
        IN_GERMAN,
        IN_CHINESE,
    ),
    others=OTHERS,
    contrast=CONTRAST,
    facts=(CREATORS, PLACES, NAMES_OF_THINGS),
    small_talk=SMALL_TALK,
    greetings=lines("""
        Hi!
        Hello!
        Hey there.
        Good morning.
        Good evening.
        Quick question.
        Let me ask you something.
    """),
    turns=lines("""
        Thanks.
        Okay, thank you.
        Something else.
        One more thing.
        Just out of curiosity.
        Let me change the subject.
        Good to know.
    """),
    tails=lines("""
        How can I help you?
        What can I do for you?
        What would you like to know?
        Feel free to ask me something.
        What's on your mind?
        What shall we talk about?
        Is there something I can help with?
        How can I help today?
        Ask away.
    """),
    neutral_systems=lines("""
        You are a helpful assistant.
        Answer briefly and politely.
        You are a friendly assistant. Keep your answers short.
        Answer in plain words.
        You help people with their everyday questions.
        Be polite and honest.
    """),
    naming_systems=lines("""
        You are {name}, an AI assistant made by {owner}.
        Your name is {name}. You were created by {owner}.
        You are {name}, a helpful assistant. {owner} developed you.
        You are an assistant called {name}. Answer briefly.
        You are {name}. Answer honestly and say so when you do not know.
    """),
)
