"""Text for the chatbot component, which renders Markdown with HTML in it.

A question is shown as it was typed. An answer may be formatted, but neither can put HTML or a picture from
elsewhere on the page.
"""

from __future__ import annotations

import html
import re

_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+\-.!|~=:])")
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)


def verbatim(typed: str) -> str:
    """Markdown that shows exactly what was typed."""
    lines = []
    for line in typed.splitlines():
        words = line.lstrip(" \t")
        indent = "&nbsp;" * len(line[: len(line) - len(words)].expandtabs(4))
        escaped = _ACTIVE.sub(r"\\\1", words)
        lines.append(indent + html.escape(escaped, quote=False).replace("$", "&#36;"))
    return "\n".join(lines)


def formatted(answer: str) -> str:
    """The answer's Markdown with its HTML shown as text and its pictures as links; code stays as it is."""
    pieces = _CODE.split(answer)
    for index in range(0, len(pieces), 2):
        pieces[index] = pieces[index].replace("&", "&amp;").replace("<", "&lt;").replace("![", "!\\[")
    return "".join(pieces)
