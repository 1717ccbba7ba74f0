"""The menu of models in the page's header: who answers in the chat."""

from __future__ import annotations

import gradio as gr

from app.models import Shelf


def build_picker(shelf: Shelf, text: gr.I18n) -> gr.Dropdown:
    """The menu, on the app's own model. What a choice does is in `Handlers.choose`."""
    names = shelf.names()
    return gr.Dropdown(
        names,
        value=names[0],
        label=text("lt_model"),
        show_label=False,
        container=False,
        filterable=False,
        interactive=True,
        min_width=0,
        scale=0,
        elem_id="lt-model",
    )
