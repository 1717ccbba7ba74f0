from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.models.pictures import open_picture, picture_from_data_url, picture_to_data_url


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_formats_from_file_and_bytes(format: str, tmp_path: Path) -> None:
    data = encoded(Image.new("RGB", (6, 4), "red"), format)
    (tmp_path / "a.img").write_bytes(data)  # the name's ending does not matter
    for source in (data, tmp_path / "a.img", str(tmp_path / "a.img")):
        image = open_picture(source)
        assert image.mode == "RGB" and image.size == (6, 4)
        r, g, b = image.getpixel((2, 2))
        assert r > 240 and g < 15 and b < 15


def test_a_phones_picture_is_turned_upright() -> None:
    image = Image.new("RGB", (8, 4), "red")
    image.paste("blue", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90° clockwise
    upright = open_picture(encoded(image, exif=exif))
    assert upright.size == (4, 8)
    assert upright.getpixel((1, 1)) == (0, 0, 255) and upright.getpixel((1, 6)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white(mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        data = encoded(image, "GIF", transparency=0)
    else:
        data = encoded(Image.new(mode, (4, 4), 0))
    assert open_picture(data).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "I;16"])
def test_other_modes_become_rgb(mode: str) -> None:
    format = "JPEG" if mode == "CMYK" else "PNG"
    assert open_picture(encoded(Image.new(mode, (4, 4)), format)).mode == "RGB"


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(data).getpixel((0, 0)) == (255, 0, 0)


def test_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: no such picture file"):
        open_picture(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text\.png: not a picture"):
        open_picture(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png: not a picture"):
        open_picture(tmp_path / "empty.png")
    for format in ("PNG", "JPEG"):
        noise = Image.effect_noise((64, 64), 90)
        (tmp_path / "half.png").write_bytes(encoded(noise, format)[:1500])
        with pytest.raises(UserError, match=r"half\.png: unreadable or truncated"):
            open_picture(tmp_path / "half.png")


def test_formats_that_run_programs_are_refused() -> None:
    with pytest.raises(UserError, match="not a picture"):
        open_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError):
        open_picture(bomb)


def test_data_addresses() -> None:
    data = encoded(Image.new("RGB", (3, 2), "blue"))
    body = base64.b64encode(data).decode()
    assert picture_from_data_url(f"data:image/png;base64,{body}").size == (3, 2)
    for address in ("http://127.0.0.1/a.png", "file:///etc/passwd", f"data:text/html;base64,{body}"):
        with pytest.raises(UserError, match="upload the file instead"):
            picture_from_data_url(address)
    with pytest.raises(UserError, match="not valid base64"):
        picture_from_data_url("data:image/png;base64,!!!")


@pytest.mark.parametrize(("format", "kind"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")])
def test_a_data_address_holds_the_file_itself(format: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(encoded(Image.effect_noise((9, 7), 50).convert("RGB"), format))
    head, _, body = picture_to_data_url(tmp_path / "a.img").partition(",")
    assert head == f"data:image/{kind};base64"
    assert base64.b64decode(body) == (tmp_path / "a.img").read_bytes()


def test_a_data_address_shows_what_is_shown_here(tmp_path: Path) -> None:
    """What readers show in different ways, turned, transparent, moving or in a rare format, is settled."""
    noise = Image.effect_noise((8, 4), 90).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    other = Image.new("RGB", (8, 4), "blue")
    files = {
        "turned.png": encoded(noise, exif=exif),
        "clear.png": encoded(Image.new("RGBA", (8, 4), (255, 0, 0, 100))),
        "moving.gif": encoded(noise, "GIF", save_all=True, append_images=[other]),
        "moving.webp": encoded(noise, "WEBP", save_all=True, append_images=[other], lossless=True),
        "old.bmp": encoded(noise, "BMP"),
        "deep.png": encoded(Image.new("I;16", (8, 4), 40_000)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        url = picture_to_data_url(tmp_path / name)
        assert url.startswith("data:image/png;base64,"), name
        assert base64.b64decode(url.partition(",")[2]) != data
        assert picture_from_data_url(url).tobytes() == open_picture(tmp_path / name).tobytes(), name
    (tmp_path / "turned.jpg").write_bytes(encoded(noise, "JPEG", exif=exif))
    turned = picture_to_data_url(tmp_path / "turned.jpg")
    assert turned.startswith("data:image/jpeg;base64,")
    assert picture_from_data_url(turned).size == (4, 8)
    with pytest.raises(UserError, match=r"gone\.png: no such picture file"):
        picture_to_data_url(tmp_path / "gone.png")
