"""The chat: what is where. What happens is in `app/handlers.py`, in the browser in `chat.js`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.answering import Updates
from app.handlers import Handlers
from app.mark import EYE
from app.pages.chat_settings import build_settings
from app.pages.events import ASKED, AT_ONCE, IN_ORDER, STREAMED
from app.strings import CHINESE, ENGLISH, PICTURE_QUESTIONS, TEXT_QUESTIONS
from app.uploads import PICTURE_TYPES

SAMPLES = Path(__file__).resolve().parents[2] / "assets" / "samples"
SCRIPTS = [Path(__file__).with_name(name) for name in ("chat_kept.js", "chat.js", "chat_page.js")]
MAX_UPLOAD_MB = 20

_CLOSE = '<button class="lt-close lt-icon" data-label="lt_close">×</button>'
_LIST = (
    f'<div class="lt-list"><div class="lt-list-head"><h2 data-text="lt_conversations"></h2>{_CLOSE}</div>'
    '<button class="lt-fresh lt-wide" data-text="lt_new"></button>'
    '<ul class="lt-kept"></ul><p class="lt-hint"></p><p class="lt-undo" role="status"></p></div>'
)
_PHONE_BAR = (
    '<div class="lt-bar">'
    '<button class="lt-icon" data-panel="lt-list" data-label="lt_conversations">☰</button>'
    '<button class="lt-fresh lt-icon" data-label="lt_new">+</button>'
    '<button class="lt-icon" data-panel="lt-settings" data-label="lt_settings">⚙</button></div>'
)


def build(page: gr.Blocks, handlers: Handlers, picker: gr.Dropdown, text: gr.I18n) -> None:
    """The chat, within a page; `picker` is the menu of the models."""
    sees = handlers.shelf.own.backend.sees
    with gr.Row(elem_classes="lt-chat-page"):
        with gr.Column(scale=0, min_width=236, elem_id="lt-list", elem_classes="lt-panel"):
            kept = gr.HTML(
                html_template=_LIST,
                js_on_load="\n".join(script.read_text(encoding="utf-8") for script in SCRIPTS),
                texts={"en": ENGLISH, "zh": CHINESE},
                max_mb=MAX_UPLOAD_MB,
                apply_default_css=False,
            )
            _downloads(handlers, text)
        with gr.Column(scale=4, min_width=280, elem_classes="lt-chat-main"):
            gr.HTML(_PHONE_BAR, apply_default_css=False)
            chatbot = gr.Chatbot(
                label=text("lt_conversation"),
                show_label=False,
                placeholder=f"{EYE}\n\n{text('lt_welcome' if sees else 'lt_welcome_blind')}",
                buttons=["copy"],
                editable="user",
                height="100%",
                elem_id="lt-chat",
                elem_classes="lt-chat",
            )
            status = gr.HTML("", elem_id="lt-status", elem_classes="lt-status")
            cards, picture_cards = _cards(text, sees)
            box, take = _box(handlers, text, sees)
        with gr.Column(scale=0, min_width=264, elem_id="lt-settings", elem_classes="lt-panel"):
            gr.HTML(
                f'<div class="lt-list-head"><h2 data-text="lt_settings"></h2>{_CLOSE}</div>',
                apply_default_css=False,
            )
            with gr.Group(elem_classes="lt-settings"):
                fields = build_settings(text)

    settings = [picker, *fields]
    out = [chatbot, box, status, kept]
    # Without Gradio's preprocessing: pictures are decoded in one place, which says what is wrong with them.
    box.submit(handlers.ask, [box, *settings], out, preprocess=False, **ASKED)
    for card, sample in cards:
        words = f"document.getElementById('{card.elem_id}').innerText.trim()"  # in the language of the page
        js = f"(box, ...rest) => [{{text: {words}, files: []}}, ...rest]"
        listener = _asking_about(handlers, sample)
        card.click(listener, [box, *settings], out, js=js, preprocess=False, **ASKED)
    chatbot.retry(handlers.retry, settings, out, preprocess=False, **ASKED)
    chatbot.edit(handlers.edit, settings, out, preprocess=False, **ASKED)
    chatbot.undo(handlers.undo, None, out, **AT_ONCE)
    chatbot.like(handlers.vote, None, out, **IN_ORDER)
    chatbot.copy(None, None, None, js="() => window.ltChat.copyExact()")
    kept.fresh(handlers.begin_anew, None, out, **AT_ONCE)
    kept.fork(handlers.fork, None, None, **IN_ORDER)
    kept.look(handlers.look, None, out, **STREAMED)

    choosing: dict[str, Any] = {
        "fn": handlers.choose,
        "inputs": picker,
        "outputs": [chatbot, status, picker, take, picture_cards],
        "preprocess": False,  # Gradio would refuse models that came later
        **STREAMED,
    }
    picker.input(**choosing)
    kept.reopen(handlers.reopen, None, [*out, fields[0], picker], **IN_ORDER).then(**choosing)
    for event in (page.load, picker.focus):
        event(handlers.models, None, picker, **AT_ONCE)


def _downloads(handlers: Handlers, text: gr.I18n) -> None:
    with gr.Row(elem_classes="lt-downloads"):
        for kind in ("markdown", "json"):
            button = gr.Button(text(f"lt_{kind}"), size="sm", min_width=0, elem_id=f"lt-{kind}")
            file = gr.JSON(visible=False)
            button.click(_exporting(handlers, kind), None, file, **AT_ONCE).then(
                None, file, None, js="(file) => window.ltChat.save(file)"
            )


def _box(handlers: Handlers, text: gr.I18n, sees: bool) -> tuple[gr.MultimodalTextbox, gr.Button]:
    """The question's box, and the camera's button for models that see."""
    with gr.Column(visible=False, elem_classes="lt-camera") as camera:
        photo = gr.Image(
            sources=["webcam"],
            interactive=True,
            type="filepath",
            label=text("lt_camera"),
            height=260,
            buttons=[],
            elem_id="lt-camera",
            webcam_options=gr.WebcamOptions(mirror=False),
        )
    with gr.Row(elem_classes="lt-ask"):
        box = gr.MultimodalTextbox(
            placeholder=str(text("lt_placeholder")),
            label=text("lt_question"),
            show_label=False,
            file_types=PICTURE_TYPES,
            file_count="multiple",
            max_plain_text_length=100_000,  # a long paste stays text, as only pictures may be files
            autofocus=True,
            elem_id="lt-box",
            elem_classes="lt-box",
        )
        take = gr.Button(text("lt_photo"), size="md", min_width=0, elem_id="lt-photo", visible=sees)
    box.stop(handlers.stop, None, None, queue=False, api_visibility="private")
    taking = gr.State(False)
    take.click(_turn, taking, [taking, camera], **AT_ONCE)
    added = photo.input(handlers.add_photo, [photo, box], [box, photo], preprocess=False, **AT_ONCE)
    added.then(_turn, taking, [taking, camera], **AT_ONCE)
    return box, take


def _cards(text: gr.I18n, sees: bool) -> tuple[list[tuple[gr.Button, Path | None]], gr.Row]:
    """Questions of the first screen, each with its sample picture if it has one; the row of those that do."""
    cards: list[tuple[gr.Button, Path | None]] = []

    def card(key: str, sample: Path | None = None) -> None:
        button = gr.Button(text(key), icon=sample, min_width=0, elem_id=key.replace("_", "-"))
        cards.append((button, sample))

    with gr.Row(elem_id="lt-cards"):
        for key in TEXT_QUESTIONS:
            card(key)
        with gr.Row(elem_id="lt-picture-cards", visible=sees) as picture_cards:
            for key, name in PICTURE_QUESTIONS.items():
                card(key, SAMPLES / name)
    return cards, picture_cards


def _turn(on: bool) -> tuple[bool, Any]:
    """Turn the camera on or off."""
    return not on, gr.update(visible=not on)


def _asking_about(handlers: Handlers, sample: Path | None) -> Callable[..., Iterator[Updates]]:
    def ask(request: gr.Request, box: dict[str, Any], *settings: Any) -> Iterator[Updates]:
        yield from handlers.ask_about(sample, request, box["text"], *settings)

    return ask


def _exporting(handlers: Handlers, kind: str) -> Callable[..., dict[str, Any] | None]:
    def export(request: gr.Request) -> dict[str, Any] | None:
        return handlers.export(kind, request)

    return export
