"""Small copies of the pictures that a run was asked about."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

from llava_tuning.errors import UserError
from llava_tuning.models.pictures import open_picture
from llava_tuning.runs.run import Run

SIDE = 160  # pixels of the longer side
MAX_BYTES = 20 * 2**20


def thumbnail(run: Run, image: str | None) -> str | None:
    """A `data:` address of a sampled answer's picture, at most SIDE pixels a side.

    None where the run's config does not name the picture, it lies outside of the config's image folder or of
    the folders whose pictures may be shown (by a link, too), or it is no readable picture.
    """
    if image is None or image not in run.images or run.image_folder is None:
        return None
    try:
        path = (run.image_folder / image).resolve()
        status = path.stat()
        inside = path.is_relative_to(run.image_folder.resolve()) and any(
            path.is_relative_to(folder.resolve()) for folder in run.shown_folders
        )
        if not inside or not path.is_file() or status.st_size > MAX_BYTES:
            return None
        return _small(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, RuntimeError, UserError):  # RuntimeError: links that go round
        return None


@lru_cache(maxsize=256)
def _small(path: Path, *state: int) -> str:
    picture = open_picture(path)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
