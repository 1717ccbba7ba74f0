"""Open pictures safely: every picture of the project comes in through here."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from llava_tuning.errors import UserError

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_SENT = {
    "PNG": "png",
    "JPEG": "jpeg",
    "MPO": "jpeg",
    "WEBP": "webp",
}  # MPO: a phone's JPEG with a second picture
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright


class PictureError(UserError):
    """The picture cannot be read."""


class PictureTooLargeError(PictureError):
    """The picture has more pixels than it may have."""


def open_picture(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one picture to RGB, upright (EXIF orientation applied), first frame, alpha on white.

    Args:
        source: a file's path, or the file's bytes. Addresses are never fetched.
        max_pixels: a larger picture is refused before it is decoded.

    Raises:
        UserError: the file is missing.
        PictureError: no picture of a supported format, truncated, or over `max_pixels`
            (PictureTooLargeError).
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        stream: io.BytesIO | Path = io.BytesIO(source)
    else:
        stream = Path(source)
        if not stream.is_file():
            raise UserError(f"{name}: no such picture file; check the path and the image folder")
    try:
        with Image.open(stream, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise PictureTooLargeError(
                    f"{name}: {image.width}×{image.height} pixels are more than {max_pixels:,}; "
                    "make it smaller"
                )
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _on_white(upright)
    except UnidentifiedImageError:
        raise PictureError(
            f"{name}: not a picture in PNG, JPEG, WebP, GIF or BMP format; convert or replace the file"
        ) from None
    except Image.DecompressionBombError:
        raise PictureTooLargeError(f"{name}: more than {max_pixels:,} pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{name}: unreadable or truncated picture ({error}); replace the file") from None


def picture_from_data_url(url: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a `data:image/...;base64,` address; `max_pixels` is as for `open_picture`.

    Raises:
        UserError: any other kind of address, or broken base64.
    """
    head, _, body = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise UserError(
            "pictures are accepted as data:image/...;base64 addresses only; upload the file instead"
        )
    try:
        return open_picture(base64.b64decode(body, validate=True), max_pixels)
    except binascii.Error:
        raise UserError("the data: address is not valid base64; encode the picture again") from None


def picture_to_data_url(file: Path) -> str:
    """A picture file as a `data:image/...;base64,` address, for a model behind an OpenAI-compatible address.

    The file's own bytes, if every reader shows them alike: PNG, JPEG or WebP, upright, opaque, one frame.
    Anything else as `open_picture` shows it, in PNG (or JPEG, where it was one), so that the model over there
    sees what a model here sees.

    Raises:
        UserError: as `open_picture`.
    """
    picture = open_picture(file)  # a file that is no picture is not read whole
    data = file.read_bytes()
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = _SENT.get(image.format or "")
        opaque = image.mode in ("RGB", "L", "P") and "transparency" not in image.info
        upright = image.getexif().get(_ORIENTATION, 1) == 1
        if not (kind and opaque and upright and (kind == "jpeg" or getattr(image, "n_frames", 1) == 1)):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG" if kind == "jpeg" else "PNG", quality=95)
            kind, data = "jpeg" if kind == "jpeg" else "png", buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def encode_picture(picture: Image.Image) -> str:
    """A decoded picture as a `data:image/png;base64,` address."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # sent once: time counts more than size
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")
