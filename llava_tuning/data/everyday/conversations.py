"""Write conversations about everyday pictures, captions of them, and what the model says of its limits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from llava_tuning.data.everyday.colour import main_colour
from llava_tuning.data.everyday.compose import compose, varied
from llava_tuning.data.everyday.limits import CHINESE_ANSWERS, chinese_questions, photograph_turn
from llava_tuning.data.everyday.names import NOISY, has_a_colour, has_a_side, noun
from llava_tuning.data.everyday.questions import Asker
from llava_tuning.data.everyday.table import EverydayPicture, check_style, read_table
from llava_tuning.data.parallel import on_all_cores
from llava_tuning.data.phrases import DESCRIBE, LANGUAGES, Language, LanguageChoice, as_typed
from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.errors import UserError
from llava_tuning.models.pictures import FORMATS, open_picture

MAX_QUESTIONS = 6  # of a conversation
ROW_SHARE = 0.25  # of the pictures show several things side by side
_CROPS = 4  # of each photograph
_PHOTOGRAPH_FILES = {".jpg", ".jpeg", ".png", ".webp"}


def write_conversations(
    folder: Path,
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 224,
    language: LanguageChoice = "en",
    photographs: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
    held_out_style: str | None = None,
) -> dict[str, Path]:
    """Write `count` pictures with captions and conversations, out of the training split of a table.

    Styles whose titles are noisy (`names.NOISY`) are left out.

    Files: `pretrain.json` (a caption for every picture), `finetune.json` (a conversation about it),
    `names.json` (of pictures of one thing, what it is and nothing else: short, so that a name is learnt from
    many pictures), `limits.json` (photographs, which it declines to name, and open questions in Chinese) and
    `images/`.
    Where both languages are asked for, they take turns. Several processes draw, see `on_all_cores` for
    scripts that call this.

    Args:
        folder: holds the table and its pictures, see `read_table`.
        out: folder to write to; pictures are named relative to it.
        count: number of pictures; each picture of the table comes up equally often, but for chance in rows.
        seed: chooses grounds, places, questions and their order.
        size: side of the square pictures, in pixels.
        photographs: folder of photographs, searched with its subfolders; None leaves them out.
        progress: called with the number of pictures written so far.
        held_out_style: neither shown nor asked about, so that an encoder can be scored on it.

    Returns:
        name → path of the data files; `names` and `limits` only where there is something of them.

    Raises:
        UserError: no such table or style, nothing of it is for training, a picture is missing, or `count` or
            `size` is out of range.
    """
    if count < 1:
        raise UserError(f"{count} pictures leave no data; give a count of 1 or more")
    if not 32 <= size <= 2048:
        raise UserError(f"a picture of {size} pixels a side is not useful; choose a size from 32 to 2048")
    table = read_table(folder)
    if held_out_style is not None:
        check_style(folder, table, held_out_style)
    pool = [p for p in table if p.split == "train" and p.style not in (*NOISY, held_out_style)]
    askers = [Asker(pool, code) for code in LANGUAGES[language]]
    if not all(asker.known for asker in askers):
        raise UserError(f"{folder}: no picture of the table is for training; build it again")
    (out / "images").mkdir(parents=True, exist_ok=True)
    orders = [
        _in_turn([p for p in pool if noun(p, asker.language)], -(-count // len(askers)), seed, asker.language)
        for asker in askers
    ]
    pretrain, finetune, names = [], [], []
    items = [(index, orders[index % len(askers)][index // len(askers)]) for index in range(count)]
    for caption, conversation, name in on_all_cores(_Composer(folder, out, size, seed, askers), items):
        pretrain.append(caption)
        finetune.append(conversation)
        names += [name] if name else []
        progress(len(pretrain))
    paths = {"pretrain": out / "pretrain.json", "finetune": out / "finetune.json"}
    write_json(paths["pretrain"], pretrain)
    write_json(paths["finetune"], finetune)
    if names:
        paths["names"] = out / "names.json"
        write_json(paths["names"], names)
    limits = _photographs(photographs, out, size, seed, LANGUAGES[language]) if photographs else []
    if "zh" in LANGUAGES[language]:
        limits += _open_chinese(seed)
    if limits:
        paths["limits"] = out / "limits.json"
        write_json(paths["limits"], limits)
    return paths


@dataclass(frozen=True)
class _Composer:
    """Draws one picture, alone or in a row, and what is said of it; as many at once as there are cores."""

    folder: Path
    out: Path
    size: int
    seed: int
    askers: Sequence[Asker]

    def __call__(self, item: tuple[int, EverydayPicture]) -> tuple[Record, Record, Record | None]:
        index, one = item
        asker, name = self.askers[index % len(self.askers)], f"everyday-{self.seed}-{index}"
        rng = random.Random(name)
        row = asker.row(rng) if rng.random() < ROW_SHARE else [one]
        row = row if len(row) > 1 else [one]
        image = f"images/{name}.png"
        row = self._draw(image, row)
        questions = asker.about_one(row[0], rng) if len(row) == 1 else asker.about_row(row, rng)
        turns = [(q.text, q.answer) for q in questions[:MAX_QUESTIONS]]
        conversation = make_record(name, image, as_typed(turns, name))
        turn = (rng.choice(DESCRIBE[asker.language]), rng.choice(asker.captions(row)))
        caption = make_record(f"{name}-caption", image, as_typed([turn], f"{name}-caption"))
        return caption, conversation, _name_record(f"{name}-name", image, asker, row)

    def _draw(self, image: str, row: Sequence[EverydayPicture]) -> list[EverydayPicture]:
        """Write the picture; its things, each with the main colour that it has there."""
        rng = random.Random(image)
        things = [
            varied(
                read_rgba(self.folder, picture),
                rng,
                mirror=not has_a_side(picture.name),
                keeps_hue=has_a_colour(picture.name),
            )
            for picture in row
        ]
        compose(things, rng, self.size).save(self.out / image, compress_level=1)
        return [
            replace(picture, colour=main_colour(thing)) for picture, thing in zip(row, things, strict=True)
        ]


def _name_record(key: str, image: str, asker: Asker, row: Sequence[EverydayPicture]) -> Record | None:
    """What the one thing is, in words that are chosen by `key` alone; None where there are several."""
    if len(row) > 1:
        return None
    question = asker.name(row[0], random.Random(key))
    return make_record(key, image, as_typed([(question.text, question.answer)], key))


def read_rgba(folder: Path, picture: EverydayPicture) -> Image.Image:
    """A picture of the table with its transparency.

    Raises:
        UserError: the file is missing or no picture.
    """
    path = folder / picture.file
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.convert("RGBA")
    except (OSError, ValueError, SyntaxError):
        open_picture(path)  # says what is wrong with it
        raise


def photograph_files(folder: Path) -> list[Path]:
    """The picture files of a folder and its subfolders.

    Raises:
        UserError: there are none.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PHOTOGRAPH_FILES)
    if not found:
        raise UserError(f"{folder}: holds no photographs; give a folder of JPEG, PNG or WebP files")
    return found


def square_crop(photograph: Image.Image, rng: random.Random, size: int) -> Image.Image:
    """A square of at least 60 % of the shorter side, anywhere in it, in half of the cases mirrored."""
    side = round(min(photograph.size) * rng.uniform(0.6, 1.0))
    left, top = (rng.randint(0, length - side) for length in photograph.size)
    square = photograph.crop((left, top, left + side, top + side)).resize((size, size))
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else square


def _in_turn(
    pool: Sequence[EverydayPicture], count: int, seed: int, language: Language
) -> list[EverydayPicture]:
    """`count` pictures, each once before any comes twice."""
    rng = random.Random(f"everyday order {seed} {language}")
    found: list[EverydayPicture] = []
    while len(found) < count:
        found += rng.sample(pool, len(pool))
    return found[:count]


def _photographs(
    folder: Path, out: Path, size: int, seed: int, languages: Sequence[Language]
) -> list[Record]:
    records = []
    for number, path in enumerate(photograph_files(folder)):
        for crop in range(_CROPS):
            rng = random.Random(f"photograph {seed} {number} {crop}")
            name = f"photograph-{seed}-{number}-{crop}"
            image = f"images/{name}.jpg"
            square_crop(open_picture(path), rng, size).save(out / image, quality=90)
            turn = photograph_turn(languages[(number + crop) % len(languages)], rng)
            records.append(make_record(name, image, as_typed([turn], name)))
    return records


def _open_chinese(seed: int) -> list[Record]:
    rng = random.Random(f"open Chinese {seed}")
    return [
        make_record(f"open-chinese-{seed}-{number}", None, [(text, rng.choice(CHINESE_ANSWERS))])
        for number, text in enumerate(chinese_questions("train"))
    ]
