"""Lines that tell a visitor how things stand, for all pages."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

TYPING = '<span class="lt-typing"><i></i><i></i><i></i></span>'  # of an answer, until its first word


def note(text: str) -> str:
    """Something that the visitor should know, for a status line."""
    return f'<p class="lt-note" role="status">{html.escape(text)}</p>'


def problem(text: str) -> str:
    """Something that the visitor must mend, for a status line."""
    return f'<p class="lt-problem" role="alert">{html.escape(text)}</p>'


def idle() -> dict[str, Any]:
    """A question's box with its send button; what was typed meanwhile stays."""
    return dict(gr.update(submit_btn=True, stop_btn=False))


def writing() -> dict[str, Any]:
    """A question's box with a button that stops; each piece says so, for the answer before may end late."""
    return dict(gr.update(submit_btn=False, stop_btn=True))
