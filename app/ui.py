"""The page's shell: theme, header and the tabs at its top. What is in a tab is in `pages/`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app.comparison import Votes
from app.folders import Folders
from app.gradio_api import GradioApi
from app.handlers import Handlers
from app.mark import EYE
from app.models import Shelf
from app.pages import chat, compare, runs
from app.pages.model_picker import build_picker
from app.uploads import Page
from llava_tuning.runs.folder import RunFolder

STYLE = Path(__file__).with_name("style.css")


def theme() -> gr.themes.Base:
    """Colours and fonts; the fonts are the system's, so nothing is fetched from elsewhere."""
    sans = ("-apple-system", "Segoe UI", "Roboto", "system-ui", "PingFang SC", "Microsoft YaHei")
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=[gr.themes.Font(name) for name in (*sans, "Noto Sans CJK SC", "sans-serif")],
        font_mono=[gr.themes.Font(name) for name in ("ui-monospace", "Menlo", "Consolas", "monospace")],
    )


def build(shelf: Shelf, handlers: Handlers, votes: Votes, text: gr.I18n, folders: Folders) -> gr.Blocks:
    """The page for the models of a shelf."""
    with Page(
        title="LLaVA Tuning", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)
    ) as page:
        with gr.Row(elem_classes="lt-top"):
            gr.HTML(
                f'<header class="lt-header">{EYE}<h1>LLaVA Tuning</h1><p>{text("lt_tagline")}</p></header>'
            )
            picker = build_picker(shelf, text)
        with gr.Tabs(elem_classes="lt-pages"):
            with gr.Tab(text("lt_chat"), id="chat"):
                chat.build(page, handlers, picker, text)
            if folders.models is not None or len(shelf.names()) > 1:
                with gr.Tab(text("lt_compare"), id="compare"):
                    compare.build(page, shelf, votes, text)
            if folders.runs is not None:
                with gr.Tab(text("lt_runs"), id="runs"):
                    runs.build(RunFolder(folders.runs, folders.data), text)
        page.unload(handlers.leave)
        # Without Gradio's limit of one call at a time: the engine queues these as well.
        api = GradioApi(shelf.own)
        gr.api(api.chat, api_name="chat", concurrency_limit=None)
        gr.api(api.model, api_name="model", queue=False)
    return page
