"""The page that compares two models: one question side by side, or a file of questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.comparison import Votes
from app.models import Shelf
from app.pages.compare_batch import BatchHandlers
from app.pages.compare_handlers import CompareHandlers
from app.pages.compare_html import EMPTY_HEADS
from app.pages.events import ASKED, AT_ONCE, IN_ORDER, STREAMED
from app.uploads import PICTURE_TYPES

# A choice and a question may overtake each other on their way, so the page counts how often it began anew.
_BEGINS = "() => [window.ltBeginning = (window.ltBeginning ?? 0) + 1]"
_ASKS = "(...values) => [...values.slice(0, %d), window.ltBeginning ?? 0]"  # in place of the last input
STYLE = Path(__file__).with_name("compare.css")
_VOTE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-vote]');
  if (button) trigger('select', {vote: button.dataset.vote});
});
"""
# The table as a whole, or those of its rows that have changed.
_TABLE = """
const place = element.querySelector('.lt-batch-rows');
watch('value', () => {
  const sent = props.value ?? {};
  if (sent.table !== undefined) place.innerHTML = sent.table;
  for (const [number, cells] of Object.entries(sent.rows ?? {})) {
    const row = place.querySelector('tbody')?.rows[number];
    if (row) row.innerHTML = cells;
  }
});
"""


def build(page: gr.Blocks, shelf: Shelf, votes: Votes, text: gr.I18n) -> None:
    """The page's layout."""
    handlers = CompareHandlers(shelf, votes)
    batch = BatchHandlers(handlers)
    names = shelf.names()
    beginning = gr.Number(0, visible=False)
    with gr.Column(elem_classes="lt-compare"):
        with gr.Row(elem_classes="lt-contenders"):
            left = gr.Dropdown(names, value=names[0], label=text("lt_first_model"), elem_id="lt-first-model")
            right = gr.Dropdown(
                names, value=names[-1], label=text("lt_second_model"), elem_id="lt-second-model"
            )
            with gr.Column(min_width=240, elem_classes="lt-compare-options"):
                blind = gr.Checkbox(label=text("lt_blind_mode"), container=False, elem_id="lt-blind")
                with gr.Accordion(text("lt_compare_settings"), open=False, elem_id="lt-compare-settings"):
                    settings = _settings(text)
        with gr.Tabs(elem_classes="lt-tabs"):
            with gr.Tab(text("lt_one_question"), id="one"):
                clear, outputs = _one_question(handlers, text, [left, right, blind, *settings, beginning])
            with gr.Tab(text("lt_question_file"), id="file"):
                _question_file(batch, text, [left, right, *settings])
    for changed in (left.input, right.input, blind.input, clear.click):
        changed(handlers.clear, beginning, outputs, js=_BEGINS, trigger_mode="multiple", **AT_ONCE)
    page.load(handlers.models, None, [left, right], **AT_ONCE)
    page.unload(handlers.leave)
    page.unload(batch.stop)


def _settings(text: gr.I18n) -> list[gr.Slider]:
    length = gr.Slider(
        8, 1024, 256, step=8, label=text("lt_max_length"), elem_id="lt-compare-length", buttons=[]
    )
    temperature = gr.Slider(
        0, 1, 0, step=0.05, label=text("lt_temperature"), elem_id="lt-compare-temperature", buttons=[]
    )
    return [length, temperature]


def _one_question(handlers: CompareHandlers, text: gr.I18n, inputs: list[Any]) -> tuple[gr.Button, list[Any]]:
    """Returns what clears it, and all that an event may change, in the order of `Updates`."""
    sides: list[Any] = []
    with gr.Row(elem_classes="lt-sides"):
        for number, letter in enumerate("ab"):
            with gr.Column(min_width=260):
                sides.append(gr.HTML(EMPTY_HEADS[number], elem_id=f"lt-head-{letter}"))
                sides.append(
                    gr.Chatbot(
                        label=f"{letter.upper()}",
                        show_label=False,
                        placeholder=str(text("lt_compare_welcome")),
                        buttons=["copy"],
                        feedback_options=None,
                        allow_file_downloads=False,
                        height="100%",
                        elem_id=f"lt-chat-{letter}",
                        elem_classes="lt-chat",
                    )
                )
    status = gr.HTML("", elem_id="lt-compare-status", elem_classes="lt-status")
    ballot = gr.HTML("", elem_id="lt-votes", js_on_load=_VOTE)
    with gr.Row(elem_classes="lt-ask"):
        box = gr.MultimodalTextbox(
            placeholder=str(text("lt_compare_placeholder")),
            label=text("lt_question"),
            show_label=False,
            file_types=PICTURE_TYPES,
            file_count="multiple",
            max_plain_text_length=100_000,
            elem_id="lt-compare-box",
            elem_classes="lt-box",
        )
        clear = gr.Button(
            text("lt_compare_new"),
            size="md",
            min_width=0,
            elem_id="lt-compare-clear",
        )
    outputs = [*sides, ballot, box, status]
    box.submit(handlers.ask, [box, *inputs], outputs, js=_ASKS % len(inputs), preprocess=False, **ASKED)
    box.stop(handlers.stop, None, None, queue=False, api_visibility="private")
    ballot.select(handlers.vote, None, outputs, **IN_ORDER)
    return clear, outputs


def _question_file(handlers: BatchHandlers, text: gr.I18n, inputs: list[Any]) -> None:
    with gr.Row(elem_classes="lt-batch-files"):
        file = gr.File(
            label=text("lt_batch_file"),
            file_types=[".csv", ".jsonl", ".json"],
            height=150,
            elem_id="lt-batch-file",
        )
        pictures = gr.File(
            label=text("lt_batch_pictures"),
            file_types=PICTURE_TYPES,
            file_count="multiple",
            height=150,
            elem_id="lt-batch-pictures",
        )
    with gr.Row(elem_classes="lt-batch-buttons"):
        run = gr.Button(text("lt_batch_run"), variant="primary", min_width=0, elem_id="lt-batch-run")
        stop = gr.Button(text("lt_batch_stop"), min_width=0, visible=False, elem_id="lt-batch-stop")
        download = gr.DownloadButton(
            str(text("lt_batch_download")), min_width=0, visible=False, elem_id="lt-batch-download"
        )
        status = gr.HTML("", elem_id="lt-batch-status")
    table = gr.HTML(
        html_template='<div class="lt-batch-rows"></div>', js_on_load=_TABLE, elem_id="lt-batch-table"
    )
    outputs = [table, status, download, run, stop]
    run.click(handlers.run, [file, pictures, *inputs], outputs, preprocess=False, **STREAMED)
    stop.click(handlers.stop, None, None, queue=False, api_visibility="private")
