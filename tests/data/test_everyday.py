"""Everyday pictures: what a folder of packages becomes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw

from llava_tuning.data.everyday import build, packages
from llava_tuning.data.everyday.build import build_everyday
from llava_tuning.data.everyday.colour import main_colour
from llava_tuning.data.everyday.drawings import CLIP_ART, STAMPS
from llava_tuning.data.everyday.emoji import TONES, Emoji, tone
from llava_tuning.data.everyday.table import COLOURS, TABLE, EverydayPicture, read_table
from llava_tuning.errors import UserError

APPLE, LION = "1F34E", "1F981"
NOTO = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
CIRCLE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
CIRCLE += '<circle cx="8" cy="8" r="5" fill="{}"/></svg>'


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages as npm and Debian lay them out, with two emoji, a stamp and a piece of clip art."""
    root = tmp_path_factory.mktemp("packages")

    def write(key: str, name: str, content: object) -> None:
        path = root / key / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

    emoji = [
        (APPLE, "red apple", "红苹果", 4, 31),
        (LION, "lion", "狮子", 3, 20),
        ("1F550", "one o’clock", "一点", 5, 40),
    ]
    for language, label in (("en", 1), ("zh", 2)):
        rows = [{"hexcode": e[0], "label": e[label], "group": e[3], "subgroup": e[4]} for e in emoji]
        write("emojibase", f"{language}/data.json", rows)
    groups = {"3": "animals-nature", "4": "food-drink", "5": "travel-places"}
    subgroups = {"20": "animal-mammal", "31": "food-fruit", "40": "time"}
    write("emojibase", "meta/groups.json", {"groups": groups, "subgroups": subgroups})
    grid = CIRCLE.format("red").replace(
        "<circle", '<g id="grid"><g/><rect width="16" height="16"/></g><circle'
    )
    write("openmoji", f"src/food-drink/food-fruit/{APPLE}.svg", grid)
    write("openmoji", "src/travel-places/time/1F550.svg", CIRCLE.format("blue"))
    for style in ("flat", "high-contrast"):
        write("fluent", f"icons/{style}/red-apple.svg", CIRCLE.format("red"))
    body = '<circle cx="8" cy="8" r="5" fill="orange"/>'
    for key in build.ICONIFY:
        names = {
            "lion-face" if key == "emojione" else "lion": {"body": body}
        }  # as Unicode and as CLDR call it
        if key == "streamline":  # several drawings of a thing
            names = {"lion-1": {"body": body}, "lion-2": {"body": body.replace("orange", "blue")}}
        if key == "emojione-monotone":
            names["red-apple"] = {"body": body.replace("orange", "currentColor")}
            names["lion"] = {"body": body.replace("orange", "currentColor")}
        write(key, "icons.json", {"icons": names, "width": 16, "height": 16})
        write(key, "chars.json", {"1f981": "lion"} if key == "twemoji" else {})
    stamps, clip_art = (
        root / "tuxpaint" / STAMPS / "animals" / "cats",
        root / "openclipart" / CLIP_ART / "food",
    )
    for folder in (stamps, clip_art):
        folder.mkdir(parents=True)
    Image.new("RGBA", (40, 30), "green").save(stamps / "cat.png")
    (stamps / "cat.txt").write_text(
        "A green cat.\nde.utf8=Eine Katze\nzh_CN.utf8=一只绿猫。\n", encoding="utf-8"
    )
    (stamps / "lost.txt").write_text("Nothing.", encoding="utf-8")
    (stamps / "broken.png").write_text("no picture", encoding="utf-8")
    (stamps / "broken.txt").write_text("A broken one.", encoding="utf-8")
    Image.new("RGBA", (30, 40), "blue").save(clip_art / "tea_pot_archite_01.png")
    solids = root / "fluent-3d" / "package" / "assets"
    solids.mkdir(parents=True)
    for code in (LION, f"{LION}-1f3fd"):  # also one of another skin, which is no emoji of the list
        Image.new("RGBA", (40, 40), "yellow").save(solids / f"{code.lower()}.webp", lossless=True)
    (root / "symbola").mkdir()
    _font_of_squares(root / "symbola" / "Symbola_hint.ttf", APPLE, LION)
    (root / "noto").mkdir()
    if NOTO.is_file():
        (root / "noto" / NOTO.name).symlink_to(NOTO)
    return {package.key: root / package.key for package in packages.PACKAGES}


def _font_of_squares(path: Path, *codes: str) -> None:
    pen = TTGlyphPen(None)
    for number, corner in enumerate([(100, 100), (100, 900), (900, 900), (900, 100)]):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({int(code, 16): "square" for code in codes})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 100)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupPost()
    font.save(path)


@pytest.fixture(scope="module")
def built(unpacked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not NOTO.is_file():
        pytest.skip("fonts-noto-color-emoji is not installed")
    out = tmp_path_factory.mktemp("everyday")
    build_everyday(unpacked, out, side=64)
    return out


def _of(table: list[EverydayPicture], style: str) -> list[EverydayPicture]:
    return [row for row in table if row.style == style]


def test_each_style_has_its_pictures_under_todays_names(built: Path) -> None:
    table = read_table(built)
    assert {row.name for row in table if row.group != "animals" and row.style != "openclipart"} == {
        "red apple",
        "lion",
    }
    for style in ("twemoji", "emojione", "emojione-v1", "fxemoji", "streamline"):
        assert [(r.name, r.name_zh, r.colour) for r in _of(table, style)] == [("lion", "狮子", "orange")]
    (apple,) = _of(table, "openmoji")
    assert (apple.name, apple.name_zh, apple.group, apple.colour) == (
        "red apple",
        "红苹果",
        "food-drink",
        "red",
    )
    picture = Image.open(built / apple.file)
    assert picture.size == (64, 64)
    assert picture.getpixel((1, 1))[3] == 0, "the grid was drawn"
    assert picture.getpixel((32, 4))[3] > 200, "the drawing does not fill the picture"


def test_a_style_of_one_tone_shows_what_its_colour_does_not_make(built: Path) -> None:
    """In black a red apple would be no other than a green one."""
    table = read_table(built)
    for style in ("emojione-monotone", "symbola"):
        assert [row.name for row in _of(table, style)] == ["lion"]
        assert _of(table, style)[0].colour in COLOURS
    assert _of(table, "fluent-flat") and not _of(table, "fluent-high-contrast")
    tones = {main_colour(Image.new("RGBA", (8, 8), colour)) for colour in TONES}
    things = [Emoji(f"{number:X}", "thing", "thing", "group", "subgroup") for number in range(200)]
    assert len(tones) == len(TONES) == len({tone(thing) for thing in things})


def test_noto_is_for_tests_alone(built: Path) -> None:
    table = read_table(built)
    assert {row.name for row in _of(table, "noto")} == {"red apple", "lion"}
    assert {row.style for row in table if row.split == "test"} <= {"noto", "tuxpaint"}
    assert {row.split for row in _of(table, "noto")} == {"test"}


def test_solids_are_taken_by_code(built: Path) -> None:
    assert [(row.name, row.colour) for row in _of(read_table(built), "fluent-3d")] == [("lion", "yellow")]


def test_stamps_and_clip_art_have_short_names(built: Path) -> None:
    table = read_table(built)
    assert [(row.name, row.name_zh) for row in _of(table, "tuxpaint")] == [("green cat", "一只绿猫")]
    assert [row.name for row in _of(table, "openclipart")] == ["tea pot"]


def test_an_interrupted_build_goes_on(
    built: Path, unpacked: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (built / TABLE).read_bytes()
    lost = next(built.glob("pictures/twemoji/*.webp"))
    lost.unlink()
    drawn = []
    real = build.render
    monkeypatch.setattr(build, "render", lambda svg, side: drawn.append(svg) or real(svg, side))
    build_everyday(unpacked, built, side=64)
    assert len(drawn) == 1 and lost.is_file()
    assert (built / TABLE).read_bytes() == before


def test_another_size_is_drawn_anew(built: Path, unpacked: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "everyday")
    build_everyday(unpacked, folder, side=48)
    sizes = {Image.open(folder / row.file).size for row in read_table(folder)}
    assert sizes == {(48, 48)}
    assert not list(folder.rglob("*.part"))


NAMED = "red #d22, yellow #fc3, green #2a2, blue #25d, brown #843, brown #c1694f, pink #f8b, purple #82c"


@pytest.mark.parametrize(
    "named", [*NAMED.split(", "), "gray #888", "white #fff", "black #000", "orange #f80"]
)
def test_the_main_colour_has_its_name(named: str) -> None:
    name, colour = named.split()
    picture = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((4, 4, 28, 28), fill=colour, outline="black")
    assert main_colour(picture) == name


def test_no_main_colour_where_none_prevails() -> None:
    picture = Image.new("RGBA", (32, 32), "red")
    picture.paste("blue", (0, 0, 16, 32))
    assert main_colour(picture) is None
    assert main_colour(Image.new("RGBA", (32, 32), (0, 0, 0, 0))) is None


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = packages.Package("x", "npm", "no-such-package", "9.9.9", "MIT", "nothing")
    monkeypatch.setattr(packages, "PACKAGES", (missing,))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no-such-package comes by npm, which is not installed"):
        packages.fetch(tmp_path / "packages")
    assert not (tmp_path / "packages" / "x").exists()


def test_a_missing_table_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="llava-tuning data everyday --out"):
        read_table(tmp_path)
