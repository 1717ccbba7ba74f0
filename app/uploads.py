"""Visitors' files: what an event names must have been uploaded, and what was received is kept in one form."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from llava_tuning.data.embedded_pictures import save_data_url
from llava_tuning.models.pictures import encode_picture

PICTURE_TYPES = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"]  # that a page offers to upload
_FOLDER = "kept_pictures"
_KEPT_S = 24 * 3600  # since it was last asked about


@dataclass(frozen=True)
class KeptPicture:
    """A picture of a conversation, decoded, and as a PNG file that the page shows."""

    image: Image.Image
    path: Path

    @property
    def name(self) -> str:
        """The same for the same picture: a hash of the file."""
        return self.path.stem

    def data_url(self) -> str:
        """The file as a `data:image/png;base64,` address."""
        return encode_picture(self.image)


def keep_picture(image: Image.Image) -> KeptPicture:
    """Write a picture to the folder of uploads. Files of a day ago go: an app that runs long fills no disk.

    What is kept are the pixels alone: no place where a photo was taken, nor its camera.
    """
    folder = Path(get_upload_folder())
    path = folder / save_data_url(encode_picture(image), folder, _FOLDER)
    for old in path.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread was faster
            if old.stat().st_mtime < time.time() - _KEPT_S:
                old.unlink()
    return KeptPicture(image, path)


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
