"""The chat's settings: how answers are written."""

from __future__ import annotations

from typing import Any

import gradio as gr

from llava_tuning.inference.backend import GenerationSettings

USUAL = GenerationSettings()
COURSE = GenerationSettings(max_new_tokens=2048, temperature=0.1, top_p=0.75)  # InternLM's course


def build_settings(text: gr.I18n) -> list[Any]:
    """The fields, in the order in which `app.handlers.read_settings` takes them."""
    system = gr.Textbox(
        label=text("lt_system"), info=text("lt_system_info"), lines=2, max_lines=6, elem_id="lt-system"
    )

    def slider(name: str, low: float, high: float, value: float, step: float) -> gr.Slider:
        return gr.Slider(
            low,
            high,
            value,
            step=step,
            label=text(f"lt_{name}"),
            info=text(f"lt_{name}_info"),
            elem_id=f"lt-{name.replace('_', '-')}",
            buttons=[],
        )

    temperature = slider("temperature", 0, 2, USUAL.temperature, 0.01)
    top_p = slider("top_p", 0, 1, USUAL.top_p, 0.01)
    length = slider("max_length", 8, 2048, USUAL.max_new_tokens, 8)
    penalty = slider("penalty", 1, 2, USUAL.repetition_penalty, 0.01)
    # Not a number field: Gradio's shows an empty one as 0.
    seed = gr.Textbox(
        label=text("lt_seed"),
        info=text("lt_seed_info"),
        max_lines=1,
        elem_id="lt-seed",
    )
    fields = [temperature, top_p, length, penalty, seed]
    with gr.Row(elem_classes="lt-presets"):
        for preset, name in ((COURSE, "lt_course"), (USUAL, "lt_reset")):
            button = gr.Button(text(name), size="sm", min_width=0, elem_id=name.replace("_", "-"))
            values = [
                preset.temperature,
                preset.top_p,
                preset.max_new_tokens,
                preset.repetition_penalty,
                "",
            ]
            button.click(
                lambda values=values: values,
                None,
                fields,
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )
    return [system, *fields]
