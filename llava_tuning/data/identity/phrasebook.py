"""What a language's identity questions and answers are made of, and how a name is put into a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CJK = r"[\u3040-\u30ff\u3400-\u9fff]"
_LATIN = r"[0-9A-Za-z\u00c0-\u024f]"
_WESTERN = r"[!-~\u00c0-\u024f]"  # Latin letters, digits and ASCII punctuation
_SLOT = re.compile(rf"(?P<before>{_CJK})?\{{(?P<slot>\w+)\}}(?:(?P<after>(?={_CJK}))|(?P<stop>\.(?=\s|$)))?")


@dataclass(frozen=True)
class Kind:
    """Questions that the same answers suit.

    The first question is the plainest, which is never held out. Slots are {name} and {owner}; {other} and
    {maker} are another assistant and who made that. A right answer has each of `must` in it and none of
    `must_not`, by `mentions`. The answers of a `foreign` kind are in another language than the book.
    """

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    must: tuple[str, ...] = ("{name}",)
    must_not: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True)
class Facts:
    """Questions about {thing}, and the answer to each of them for each thing."""

    questions: tuple[str, ...]
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Phrasebook:
    """All wordings of one language.

    Attributes:
        kinds: identity questions with their answers.
        others: other assistants, each with its maker.
        contrast: questions in the words of identity questions that are about something else.
        facts: more of these, with a slot.
        small_talk: ordinary questions and answers that identity questions come between.
        greetings: what may stand before the first question of a conversation.
        turns: what may stand before a later one.
        tails: sentences behind an identity answer.
        neutral_systems: system prompts that do not tell the name.
        naming_systems: system prompts that do.
    """

    language: str
    kinds: tuple[Kind, ...]
    others: Mapping[str, str]
    contrast: tuple[tuple[str, str], ...]
    facts: tuple[Facts, ...]
    small_talk: tuple[tuple[str, str], ...]
    greetings: tuple[str, ...]
    turns: tuple[str, ...]
    tails: tuple[str, ...]
    neutral_systems: tuple[str, ...]
    naming_systems: tuple[str, ...]


def lines(block: str) -> tuple[str, ...]:
    """The lines of a block that are not empty."""
    return tuple(line.strip() for line in block.splitlines() if line.strip())


def pairs(block: str) -> tuple[tuple[str, str], ...]:
    """`question | answer` of each line."""
    split = (line.partition(" | ") for line in lines(block))
    return tuple((question, answer) for question, _, answer in split)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its slots filled.

    Between Chinese and Latin letters comes a space (我是 Momo), and a value that ends a sentence by itself
    (Acme Inc.) takes no second full stop.
    """

    def put(match: re.Match[str]) -> str:
        value = values[match["slot"]]
        before = match["before"] or ""
        if before and re.match(_WESTERN, value):
            before += " "
        after = (
            " " if match["after"] is not None and re.search(f"{_WESTERN}$", value) else match["stop"] or ""
        )
        return before + value + ("" if after == "." and value[-1] in ".!?。！？" else after)

    return _SLOT.sub(put, template)


def mentions(text: str, phrase: str) -> bool:
    """Whether `phrase` is in `text`; Latin letters count as whole words only.

    Case, the shape of an apostrophe and spaces beside Chinese letters make no difference. `Sam` is in
    "I'm Sam." and not in "the same"; `小智` is in 我是小智。
    """
    folded, text = (
        re.sub(rf"(?<={_CJK})\s+|\s+(?={_CJK})", "", part.casefold().replace("’", "'"))
        for part in (phrase, text)
    )
    start = rf"(?<!{_LATIN})" if re.match(_LATIN, folded) else ""
    end = rf"(?!{_LATIN})" if re.search(f"{_LATIN}$", folded) else ""
    return re.search(f"{start}{re.escape(folded)}{end}", text) is not None


def plain_wording(text: str) -> str:
    """Letters and digits of a question in lower case: two questions alike in these are the same wording."""
    return "".join(character for character in text.casefold() if character.isalnum())
