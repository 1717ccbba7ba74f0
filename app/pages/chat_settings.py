"""The chat's settings: how answers are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.pages.events import AT_ONCE
from llava_tuning.inference.backend import GenerationSettings

USUAL = GenerationSettings()
COURSE = GenerationSettings(max_new_tokens=2048, temperature=0.1, top_p=0.75)  # InternLM's course


def build_settings(text: gr.I18n) -> list[Any]:
    """The fields, in the order in which `read_settings` takes them."""
    with gr.Row(elem_classes="lt-presets"):
        course = gr.Button(text("lt_course"), size="sm", min_width=0, elem_id="lt-course")
        reset = gr.Button(text("lt_reset"), size="sm", min_width=0, elem_id="lt-reset")
    system = gr.Textbox(
        label=text("lt_system"), info=text("lt_system_info"), lines=2, max_lines=6, elem_id="lt-system"
    )
    temperature = _slider(text, "temperature", 0, 2, 0.01)
    top_p = _slider(text, "top_p", 0, 1, 0.01)
    length = _slider(text, "max_length", 8, 2048, 8)
    penalty = _slider(text, "penalty", 1, 2, 0.01)
    # Not a number field: Gradio's shows an empty one as 0.
    seed = gr.Textbox(label=text("lt_seed"), info=text("lt_seed_info"), max_lines=1, elem_id="lt-seed")
    fields: list[Any] = [temperature, top_p, length, penalty, seed]
    for button, preset in ((course, COURSE), (reset, USUAL)):
        values = _values(preset)
        button.click(lambda values=values: values, None, fields, **AT_ONCE)
    for field, value in zip(fields, _values(USUAL), strict=True):
        field.value = value
    return [system, *fields]


def _values(preset: GenerationSettings) -> list[Any]:
    seed = "" if preset.seed is None else str(preset.seed)
    return [preset.temperature, preset.top_p, preset.max_new_tokens, preset.repetition_penalty, seed]


def _slider(text: gr.I18n, name: str, low: float, high: float, step: float) -> gr.Slider:
    return gr.Slider(
        low,
        high,
        step=step,
        label=text(f"lt_{name}"),
        info=text(f"lt_{name}_info"),
        elem_id=f"lt-{name.replace('_', '-')}",
        buttons=[],
    )


def read_settings(given: Sequence[Any]) -> tuple[str, GenerationSettings]:
    """(system prompt, settings) from the page's fields.

    Args:
        given: system prompt, temperature, top-p, maximum new tokens, repetition penalty; the seed as text.

    Raises:
        TypeError, ValueError, OverflowError: a field is empty or holds no number.
        UserError: a number is out of its range.
    """
    system, temperature, top_p, length, penalty, seed = given
    numbers = GenerationSettings(
        max_new_tokens=int(length),
        temperature=float(temperature),
        top_p=float(top_p),
        repetition_penalty=float(penalty),
        seed=int(seed) if (seed or "").strip() else None,
    )
    return (system or "").strip(), numbers
