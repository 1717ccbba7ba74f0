"""Write a picture that stands inside a data file, as a `data:` address, to a file of its own."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

from PIL import Image

from llava_tuning.models.pictures import FORMATS, picture_from_data_url

# MPO: a JPEG file of several pictures, as some cameras write
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}


def save_data_url(url: str, root: Path, folder: str) -> str:
    """Write the picture's bytes to `root/folder`, named by their hash; returns the path relative to `root`.

    Raises:
        UserError: not base64, or no readable picture.
    """
    picture_from_data_url(url)  # a broken picture must fail here, not in training
    data = base64.b64decode(url.partition(",")[2])
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        suffix = _SUFFIXES[image.format or "PNG"]
    name = f"{folder}/{hashlib.sha256(data).hexdigest()[:20]}{suffix}"
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    return name
