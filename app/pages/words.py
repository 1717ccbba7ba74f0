"""The app's texts for HTML that the server writes."""

from __future__ import annotations

import html
from dataclasses import dataclass

from app.strings import Language, say


@dataclass(frozen=True)
class Words:
    """The texts in one language."""

    language: Language

    def plain(self, key: str, **values: object) -> str:
        """One text, not yet safe as HTML."""
        return say(key, self.language, **values)

    def html(self, key: str, **values: object) -> str:
        """One text, safe as HTML; what stands between backticks is code."""
        pieces = html.escape(self.plain(key, **values)).split("`")
        return "".join(
            f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces)
        )
