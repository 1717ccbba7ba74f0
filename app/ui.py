"""What is where on the page. What happens is in `handlers.py`, what it says in `strings.py`."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from app.comparison import Votes
from app.conversation import Tab
from app.folders import Folders
from app.handlers import Handlers
from app.models import Shelf
from app.pages import compare, runs
from app.strings import PICTURE_QUESTIONS, TEXT_QUESTIONS
from app.uploads import Page
from llava_tuning.inference.backend import ChatBackend, GenerationSettings
from llava_tuning.runs.folder import RunFolder

SAMPLES = Path(__file__).resolve().parents[1] / "assets" / "samples"
STYLE = Path(__file__).with_name("style.css")
FILE_TYPES = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"]

# The mark of the page's title and of empty conversations.
EYE = (
    '<svg class="lt-eye" viewBox="0 0 32 32" aria-hidden="true">'
    '<path d="M2.5 16S7.5 6.5 16 6.5 29.5 16 29.5 16 24.5 25.5 16 25.5 2.5 16 2.5 16Z"/>'
    '<circle cx="16" cy="16" r="4.6"/></svg>'
)


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


def build(
    backend: ChatBackend, handlers: Handlers, shelf: Shelf, text: gr.I18n, folders: Folders
) -> gr.Blocks:
    """The page for one model."""
    with Page(
        title="LLaVA Tuning", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)
    ) as page:
        gr.HTML(
            f'<header class="lt-header">{EYE}<h1>LLaVA Tuning</h1><p>{text("lt_tagline")}</p>'
            f'<span class="lt-model">{html.escape(backend.name)}</span></header>'
        )
        with gr.Tabs(elem_classes="lt-pages"):
            with gr.Tab(text("lt_chat"), id="chat"), gr.Row(elem_classes="lt-page"):
                with gr.Column(scale=4, elem_classes="lt-main"):
                    tabs = gr.Tabs(elem_classes="lt-tabs")
                with gr.Column(scale=1, min_width=260, elem_classes="lt-side"):
                    settings = _settings(text)
            with gr.Tab(text("lt_compare"), id="compare"):
                compare.build(page, shelf, Votes(folders.votes), text)
            with gr.Tab(text("lt_runs"), id="runs"):
                runs.build(RunFolder(folders.runs), text)
        with tabs:
            with gr.Tab(text("lt_text_chat"), id="text"):
                _text_tab(backend, handlers, text, settings)
            with gr.Tab(text("lt_picture_chat"), id="picture", interactive=backend.sees):
                _picture_tab(handlers, text, settings)
        page.unload(handlers.leave)
        # Without Gradio's limit of one call at a time: the engine queues these as well.
        gr.api(handlers.api_chat, api_name="chat", concurrency_limit=None)
        gr.api(handlers.api_model, api_name="model", queue=False)
    return page


def _settings(text: gr.I18n) -> list[gr.Slider]:
    """Sliders in the order of the handlers' arguments: maximum length, top-p, temperature."""
    usual = GenerationSettings()
    with gr.Group(elem_classes="lt-settings"):
        gr.HTML(f"<h2>{text('lt_settings')}</h2>", elem_id="lt-settings-title")
        length = gr.Slider(
            8,
            2048,
            usual.max_new_tokens,
            step=8,
            label=text("lt_max_length"),
            info=text("lt_max_length_info"),
            elem_id="lt-max-length",
            buttons=[],
        )
        top_p = gr.Slider(
            0,
            1,
            usual.top_p,
            step=0.01,
            label=text("lt_top_p"),
            info=text("lt_top_p_info"),
            elem_id="lt-top-p",
            buttons=[],
        )
        temperature = gr.Slider(
            0,
            1,
            usual.temperature,
            step=0.01,
            label=text("lt_temperature"),
            info=text("lt_temperature_info"),
            elem_id="lt-temperature",
            buttons=[],
        )
    return [length, top_p, temperature]


def _text_tab(backend: ChatBackend, handlers: Handlers, text: gr.I18n, settings: list[gr.Slider]) -> None:
    blind = "" if backend.sees else "_blind"
    chatbot, status = _conversation(text, "text", f"lt_text_welcome{blind}")
    ideas = _ideas(text, "text", TEXT_QUESTIONS)
    with gr.Row(elem_classes="lt-ask"):
        box = gr.MultimodalTextbox(
            placeholder=str(text("lt_text_placeholder")),
            label=text("lt_question"),
            show_label=False,
            file_types=FILE_TYPES,
            file_count="multiple",
            max_plain_text_length=100_000,  # a long paste stays text, as only pictures may be files
            autofocus=True,
            elem_id="lt-text-box",
        )
        clear = _clear_button(text, "text")
    out = [chatbot, box, status]
    _ask(box.submit, handlers.ask_text, [box, *settings], out)
    for idea in ideas:
        words = f"(box, ...rest) => [{{text: {_label_of(idea)}, files: box?.files ?? []}}, ...rest]"
        _ask(idea.click, handlers.ask_text, [box, *settings], out, js=words)
    _stop_and_clear(handlers, "text", box, clear, out)


def _picture_tab(handlers: Handlers, text: gr.I18n, settings: list[gr.Slider]) -> None:
    with gr.Row(elem_classes="lt-picture-chat"):
        with gr.Column(scale=2, min_width=240, elem_classes="lt-picture-side"):
            picture = gr.Image(
                sources=["upload", "clipboard"],
                type="filepath",
                label=text("lt_picture"),
                height="100%",
                buttons=[],
                elem_id="lt-picture",
            )
            samples = gr.Gallery(
                value=[str(path) for path in _samples()],
                label=text("lt_samples"),
                show_label=False,
                columns=4,
                rows=1,
                height="auto",
                allow_preview=False,
                interactive=False,
                object_fit="cover",
                buttons=[],
                elem_id="lt-samples",
            )
        with gr.Column(scale=3, min_width=280):
            chatbot, status = _conversation(text, "picture", "lt_picture_welcome")
            ideas = _ideas(text, "picture", PICTURE_QUESTIONS)
            with gr.Row(elem_classes="lt-ask"):
                box = gr.Textbox(
                    placeholder=text("lt_picture_placeholder"),
                    label=text("lt_question"),
                    show_label=False,
                    submit_btn=True,
                    max_lines=6,
                    elem_id="lt-picture-box",
                )
                clear = _clear_button(text, "picture")
    out = [chatbot, box, status]
    asked = [box, picture, *settings]
    # Without Gradio's preprocessing: `open_picture` decodes the upload, and says what is wrong with it.
    _ask(box.submit, handlers.ask_picture, asked, out, preprocess=False)
    for idea in ideas:
        words = f"(box, ...rest) => [{_label_of(idea)}, ...rest]"
        _ask(idea.click, handlers.ask_picture, asked, out, js=words, preprocess=False)
    samples.select(_sample, None, picture, show_progress="hidden", queue=False, api_visibility="private")
    picture.change(
        handlers.change_picture,
        picture,
        out,
        preprocess=False,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    _stop_and_clear(handlers, "picture", box, clear, out)


def _sample(event: gr.SelectData) -> str:
    return str(_samples()[event.index])


def _samples() -> list[Path]:
    return sorted(SAMPLES.glob("*.png"))


def _conversation(text: gr.I18n, tab: str, welcome: str) -> tuple[gr.Chatbot, gr.HTML]:
    chatbot = gr.Chatbot(
        label=text("lt_conversation"),
        show_label=False,
        placeholder=f"{EYE}\n\n{text(welcome)}",
        buttons=["copy"],
        feedback_options=None,
        allow_file_downloads=False,
        height="100%",
        elem_id=f"lt-{tab}-chat",
        elem_classes="lt-chat",
    )
    status = gr.HTML("", elem_id=f"lt-{tab}-status", elem_classes="lt-status")
    return chatbot, status


def _ideas(text: gr.I18n, tab: str, questions: tuple[str, ...]) -> list[gr.Button]:
    with gr.Row(elem_id=f"lt-{tab}-ideas", elem_classes="lt-ideas"):
        return [
            gr.Button(text(key), size="sm", min_width=0, elem_id=key.replace("_", "-")) for key in questions
        ]


def _clear_button(text: gr.I18n, tab: str) -> gr.Button:
    return gr.Button(
        text("lt_clear"), size="md", min_width=0, elem_id=f"lt-{tab}-clear", elem_classes="lt-clear"
    )


def _label_of(button: gr.Button) -> str:
    """JavaScript for the words on a button: the question is asked in the language that the page shows."""
    return f"document.getElementById('{button.elem_id}').innerText"


def _ask(event: Any, listener: Any, inputs: list[Any], outputs: list[Any], **options: Any) -> None:
    # The engine queues; were Gradio to do it, nobody could say how many are before you, or stop in line.
    options |= {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    event(listener, inputs, outputs, **options)


def _stop_and_clear(handlers: Handlers, tab: Tab, box: Any, clear: gr.Button, outputs: list[Any]) -> None:
    def stop(request: gr.Request) -> None:
        handlers.stop(tab, request)

    def forget(request: gr.Request) -> Any:
        return handlers.clear(tab, request)

    box.stop(stop, None, None, queue=False, api_visibility="private")
    clear.click(forget, None, outputs, queue=False, show_progress="hidden", api_visibility="private")
