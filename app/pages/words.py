"""The app's texts for HTML that the server writes."""

from __future__ import annotations

import html
import traceback
from dataclasses import dataclass

import gradio as gr

from app.strings import Language, browser_language, explain, say
from llava_tuning.errors import UserError


@dataclass(frozen=True)
class Words:
    """The texts in one language."""

    language: Language

    def plain(self, key: str, **values: object) -> str:
        """One text, not yet safe as HTML."""
        return say(key, self.language, **values)

    def explain(self, error: Exception) -> str:
        """What went wrong, not yet safe as HTML; what nobody foresaw is in the terminal too."""
        if isinstance(error, UserError):
            return explain(error, self.language)
        traceback.print_exception(error)
        return self.plain("lt_failed", error=f"{type(error).__name__}: {error}")

    def html(self, key: str, **values: object) -> str:
        """One text, safe as HTML; what stands between backticks is code."""
        pieces = html.escape(self.plain(key, **values)).split("`")
        return "".join(
            f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces)
        )


def words_of(request: gr.Request) -> Words:
    """The app's texts in the visitor's language."""
    return Words(browser_language(request.headers.get("accept-language")))
