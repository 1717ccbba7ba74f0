"""A small table of everyday pictures, drawn with Pillow: things of several groups in three styles."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from llava_tuning.data.everyday.names import COLOURS_ZH
from llava_tuning.data.everyday.table import EverydayPicture, write_table

# name, Chinese name, group, subgroup, colour
THINGS = (
    ("dog", "狗", "animals-nature", "animal-mammal", "brown"),
    ("elephant", "大象", "animals-nature", "animal-mammal", "gray"),
    ("giraffe", "长颈鹿", "animals-nature", "animal-mammal", "yellow"),
    ("kangaroo", "袋鼠", "animals-nature", "animal-mammal", "brown"),
    ("owl", "猫头鹰", "animals-nature", "animal-bird", "brown"),
    ("penguin", "企鹅", "animals-nature", "animal-bird", "black"),
    ("spider web", "蜘蛛网", "animals-nature", "animal-bug", "gray"),
    ("tulip", "郁金香", "animals-nature", "plant-flower", "pink"),
    ("cactus", "仙人掌", "animals-nature", "plant-other", "green"),
    ("red apple", "红苹果", "food-drink", "food-fruit", "red"),
    ("banana", "香蕉", "food-drink", "food-fruit", "yellow"),
    ("grapes", "葡萄", "food-drink", "food-fruit", "purple"),
    ("carrot", "胡萝卜", "food-drink", "food-vegetable", "orange"),
    ("pizza", "披萨", "food-drink", "food-prepared", "yellow"),
    ("beer mug", "啤酒", "food-drink", "drink", "yellow"),
    ("bus", "公共汽车", "travel-places", "transport-ground", "yellow"),
    ("bicycle", "自行车", "travel-places", "transport-ground", None),
    ("helicopter", "直升机", "travel-places", "transport-air", "red"),
    ("hospital", "医院", "travel-places", "place-building", "white"),
    ("factory", "工厂", "travel-places", "place-building", "gray"),
    ("guitar", "吉他", "objects", "musical-instrument", "brown"),
    ("violin", "小提琴", "objects", "musical-instrument", "brown"),
    ("scarf", "围巾", "objects", "clothing", "blue"),
    ("jeans", "牛仔裤", "objects", "clothing", "blue"),
    ("hammer", "锤子", "objects", "tool", "gray"),
    ("umbrella", None, "travel-places", "sky-weather", "purple"),
    ("grinning face", "嘿嘿", "smileys-emotion", "face-smiling", "yellow"),
)
STYLES = {"openmoji": "train", "twemoji": "train", "noto": "test"}


def write_everyday(folder: Path) -> Path:
    """The pictures and their table; a thing is a blob of its colour, which says nothing of its name."""
    rows = []
    for style, split in STYLES.items():
        for number, (name, chinese, group, subgroup, colour) in enumerate(THINGS):
            file = f"pictures/{style}/{number}.png"
            rows.append(EverydayPicture(file, style, name, chinese, group, subgroup, colour, split))
            blob(colour or "black", folder / file)
    captions = {"Adelaide Rosella": "train", "black grouse": "test", "macaw": "test"}
    for number, (name, split) in enumerate(captions.items()):
        file = f"pictures/tuxpaint/{number}.png"
        rows.append(EverydayPicture(file, "tuxpaint", name, None, "animals", "birds", "red", split))
        blob("red", folder / file)
    write_table(folder, rows)
    return folder


def blob(colour: str, path: Path) -> None:
    """An ellipse on a transparent ground."""
    assert colour in COLOURS_ZH
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((8, 16, 56, 48), colour)
    picture.save(path)
