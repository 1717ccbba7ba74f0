"""easy-VQA as records: the official split, right answers, and captions that say nothing untrue."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from llava_tuning.data.check import check_file
from llava_tuning.data.easy_vqa import (
    COLOURS,
    SHAPES,
    easy_vqa_questions,
    in_chinese,
    known_facts,
    write_easy_vqa,
)
from llava_tuning.data.load import load_records
from llava_tuning.errors import UserError

# The colours that easy-VQA draws with, named as Pillow names them.
RGB = {
    (0, 0, 0): "black",
    (0, 0, 255): "blue",
    (165, 42, 42): "brown",
    (128, 128, 128): "gray",
    (0, 255, 0): "green",
    (255, 0, 0): "red",
    (0, 128, 128): "teal",
    (255, 255, 0): "yellow",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("easy-vqa")
    write_easy_vqa(out, seed=3, limit=60)
    return out


def _colour_in_picture(path: Path) -> str:
    pixels = Image.open(path).convert("RGB").getcolors(64 * 64) or []
    return next(RGB[rgb] for _, rgb in sorted(pixels, reverse=True) if rgb in RGB)  # type: ignore[index]


def test_the_official_numbers_and_types():
    train, test = easy_vqa_questions("train"), easy_vqa_questions("test")
    assert (len(train), len(test)) == (38_575, 9_673)
    assert len({q.image_path for q in train}) == 4_000
    assert len({q.image_path for q in test}) == 1_000
    assert len({q.id for q in train + test}) == 38_575 + 9_673
    assert Counter(q.type for q in test)["yes/no"] == 7_136
    assert {q.answer for q in test if q.type == "shape"} == set(SHAPES)
    assert {q.answer for q in test if q.type == "colour"} == set(COLOURS)


def test_a_conversation_holds_exactly_the_questions_of_its_picture(small: Path):
    official: dict[str, list[tuple[str, str]]] = {}
    for question in easy_vqa_questions("train"):
        official.setdefault(question.image_path.name, []).append((question.text, question.answer))
    records = load_records(small / "finetune.json")
    assert len(records) == 60
    reordered = 0
    for record in records:
        values = [turn.value.removeprefix("<image>\n") for turn in record.conversations]
        turns = [(q[0].lower() + q[1:], a) for q, a in zip(values[::2], values[1::2], strict=True)]
        expected = official[Path(record.image or "").name]
        assert sorted(turns) == sorted(expected)
        reordered += turns != expected
    assert reordered > 50


def test_train_and_test_stay_apart(small: Path):
    for name, split in (("pretrain", "train"), ("finetune", "train"), ("test", "test")):
        images = {record.image for record in load_records(small / f"{name}.json")}
        assert all(image and image.startswith(f"images/{split}/") for image in images)
    rows = [json.loads(line) for line in (small / "test_questions.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"id", "image", "question", "answer", "type"}
    by_id = {q.id: q for q in easy_vqa_questions("test")}
    for row in rows:
        assert (row["question"], row["answer"]) == (by_id[row["id"]].text, by_id[row["id"]].answer)
        assert (small / row["image"]).read_bytes() == by_id[row["id"]].image_path.read_bytes()


def test_captions_vary_and_name_the_colour_that_is_drawn(small: Path):
    records = load_records(small / "pretrain.json")
    named = 0
    for record in records:
        caption = record.conversations[1].value
        said = {colour for colour in COLOURS if re.search(rf"\b{colour}\b", caption)}
        assert said <= {_colour_in_picture(small / (record.image or ""))}
        named += bool(said)
    assert named > 50
    assert len({record.conversations[0].value for record in records}) >= 8
    patterns = {re.sub("|".join(COLOURS + SHAPES), "_", r.conversations[1].value) for r in records}
    assert len(patterns) >= 8


def test_facts_that_the_questions_tell_are_true_of_every_test_picture():
    pictures: dict[Path, list] = {}
    for question in easy_vqa_questions("test"):
        pictures.setdefault(question.image_path, []).append(question)
    both = 0
    for path, questions in pictures.items():
        shape, colour = known_facts(questions)
        assert colour in (None, _colour_in_picture(path))
        answers = {q.answer for q in questions if q.type == "shape"}
        assert not answers or answers == {shape}
        both += bool(shape and colour)
    assert both > 800


def capitals(file: Path) -> list[int]:
    """How many questions of each record begin with a capital letter."""
    asked = [
        [turn.value.removeprefix("<image>\n") for turn in r.conversations[::2]] for r in load_records(file)
    ]
    return [sum(text[:1].isupper() for text in texts) for texts in asked]


def test_the_same_seed_writes_the_same_files_and_another_seed_does_not(small: Path, tmp_path: Path):
    write_easy_vqa(tmp_path / "same", seed=3, limit=60)
    write_easy_vqa(tmp_path / "other", seed=4, limit=60)
    for name in ("pretrain.json", "finetune.json", "test.json", "test_questions.jsonl"):
        assert (tmp_path / "same" / name).read_bytes() == (small / name).read_bytes()
    assert (tmp_path / "other" / "finetune.json").read_bytes() != (small / "finetune.json").read_bytes()
    assert capitals(tmp_path / "other" / "finetune.json") != capitals(small / "finetune.json")


def test_what_is_written_passes_the_check(small: Path):
    for name in ("pretrain.json", "finetune.json", "test.json"):
        assert check_file(small / name, None)[0] == []


def test_a_limit_below_one_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="limit of 0"):
        write_easy_vqa(tmp_path, limit=0)


def test_chinese_questions_ask_what_the_english_ones_do():
    names = dict(zip(SHAPES, ("圆形", "长方形", "三角形"), strict=True))
    names |= dict(zip(COLOURS, ("黑色", "蓝色", "棕色", "灰色", "绿色", "红色", "青色", "黄色"), strict=True))
    affirmed = {"有": "yes", "没有": "no", "对": "yes", "不对": "no"}
    for question in easy_vqa_questions("test"):
        twin = in_chinese(question)
        words = set(re.findall(r"[a-z]+", question.text))
        for english, chinese in names.items():
            assert (english in words) == (chinese in twin.text), (question.text, twin.text)
        assert not re.search("[a-zA-Z{}]", twin.text + twin.answer)
        if question.type == "yes/no":
            assert affirmed[twin.answer] == question.answer
            assert ("对" in twin.answer) == bool({"not", "no"} & words) == ("对" in twin.text)
        else:
            assert twin.answer == names[question.answer]


def test_both_languages_are_written_for_training_and_the_test_split_stays(small: Path, tmp_path: Path):
    write_easy_vqa(tmp_path, seed=3, limit=60, language="both")
    for name in ("pretrain.json", "finetune.json"):
        both = load_records(tmp_path / name)
        assert both[::2] == load_records(small / name)
        assert all(re.search("[\u4e00-\u9fff]", record.conversations[1].value) for record in both[1::2])
        assert check_file(tmp_path / name, None)[0] == []
    for name in ("test.json", "test_questions.jsonl"):
        assert (tmp_path / name).read_bytes() == (small / name).read_bytes()
