"""Visitors' files: what an event names must have been uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder


class Page(gr.Blocks):
    """A page whose events take no file but uploads.

    Gradio's own check looks at files that an event marks as such, lets web addresses pass, which it then
    fetches, and is off where the page is mounted into another app.
    """

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **named: Any) -> Any:
        """As Gradio's.

        Raises:
            gr.Error: an input names a file elsewhere than in the folder of uploads, or an address.
        """
        folder = Path(get_upload_folder()).resolve()
        for name in _named_files(inputs):
            if "\0" in name or not Path(name).resolve().is_relative_to(folder):
                raise gr.Error(
                    f"{Path(name).name}: not an uploaded file; upload it first", print_exception=False
                )
        return await super().preprocess_data(block_fn, inputs, *rest, **named)


def _named_files(value: Any) -> Iterator[str]:
    """Every path in an event's data."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        for item in value.values():
            yield from _named_files(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named_files(item)
