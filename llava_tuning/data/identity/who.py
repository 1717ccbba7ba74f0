"""The name and maker to teach, checked before they are written into hundreds of sentences."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from llava_tuning.data.identity.phrasebook import mentions
from llava_tuning.errors import UserError

_LONGEST = 80  # characters
_SPECIAL = re.compile(r"<\||\|>|</?[^<>\s]+>|\[/?[A-Z]{3,}\]|\[UNUSED_TOKEN_\d+\]")


@dataclass(frozen=True)
class Identity:
    """What the assistant is called, and the person or group that made it.

    Raises:
        UserError: one of them is empty, too long, more than a line, or holds what reads as a special token.
    """

    name: str
    owner: str

    def __post_init__(self) -> None:
        for option, value in (("--name", self.name), ("--owner", self.owner)):
            if not value.strip():
                raise UserError(f"{option} is empty; give a name")
            if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
                raise UserError(f"{option} {value!r} holds a line break or control character; give one line")
            if not any(character.isalnum() for character in value):
                raise UserError(f"{option} {value!r} holds no letter or digit; give a name that can be said")
            if value != value.strip():
                raise UserError(f"{option} {value!r} has white space around it; remove that")
            if len(value) > _LONGEST:
                raise UserError(f"{option} has {len(value)} characters; give at most {_LONGEST}")
            if special := _SPECIAL.search(value):
                raise UserError(f"{option} {value!r} holds {special[0]!r}, a special token; remove it")

    @property
    def values(self) -> dict[str, str]:
        """What the slots of templates are filled with."""
        return {"name": self.name, "owner": self.owner}

    def in_text(self, *texts: str) -> bool:
        """Whether one of the texts mentions the name or the owner."""
        return any(mentions(text, own) for text in texts for own in (self.name, self.owner))

    def overlaps(self, word: str) -> bool:
        """Whether the word is the name or the owner, or a part of either, or has either as a part."""
        return self.in_text(word) or any(mentions(own, word) for own in (self.name, self.owner))

    @property
    def is_named_after_owner(self) -> bool:
        """Whether the name is a part of the owner's, or the other way round, as Momo and Momo Labs."""
        return mentions(self.name, self.owner) or mentions(self.owner, self.name)
