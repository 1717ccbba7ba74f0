"""Scenes: deterministic, drawn as described, with answers that an independent reckoning confirms."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from llava_tuning.data.check import check_file
from llava_tuning.data.drawing import PALETTE, draw
from llava_tuning.data.load import load_records
from llava_tuning.data.scene_text import captions, questions
from llava_tuning.data.scenes import COLOURS, MAX_OBJECTS, SHAPES, Scene, SceneObject, scene, write_scenes
from llava_tuning.errors import UserError

MANY = [scene(11, index) for index in range(1500)]
seeds = st.integers(0, 2**32)
indices = st.integers(0, 2**32)


@given(seeds, indices)
@settings(max_examples=60, deadline=None)
def test_objects_stay_inside_and_apart(seed: int, index: int):
    objects = scene(seed, index).objects
    assert 1 <= len(objects) <= MAX_OBJECTS
    for number, one in enumerate(objects):
        assert one.radius <= min(one.x, one.y, 1 - one.x, 1 - one.y)
        for other in objects[:number]:
            assert math.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius


@given(seeds, indices)
@settings(max_examples=20, deadline=None)
def test_a_scene_and_its_picture_depend_on_seed_and_index_alone(seed: int, index: int):
    assert scene(seed, index) == scene(seed, index)
    assert draw(scene(seed, index), 64).tobytes() == draw(scene(seed, index), 64).tobytes()
    assert questions(scene(seed, index)) == questions(scene(seed, index))
    assert scene(seed, index).objects != scene(seed, index + 1).objects


def _blobs(drawn: Scene, size: int) -> list[tuple[str, float, float]]:
    """(colour, x, y) of every connected patch that differs from the background, from the pixels alone."""
    picture = draw(drawn, size)
    pixels = picture.load()
    assert pixels is not None
    tones = [(rgb, name) for name, shades in PALETTE.items() for rgb in shades]
    left: dict[tuple[int, int], str] = {}
    for x in range(size):
        for y in range(size):
            rgb = pixels[x, y]
            distance, name = min((math.dist(rgb, tone), name) for tone, name in tones)
            if distance < 15:  # the jitter reaches 8 a channel
                left[x, y] = name
    found = []
    while left:
        start, name = left.popitem()
        patch, border = [start], [start]
        while border:
            x, y = border.pop()
            for near in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if left.get(near) == name:
                    del left[near]
                    patch.append(near)
                    border.append(near)
        if len(patch) > 50:  # smoothed edges of black may pass for a line of gray
            xs, ys = zip(*patch, strict=True)
            found.append((name, (min(xs) + max(xs) + 1) / 2 / size, (min(ys) + max(ys) + 1) / 2 / size))
    return found


@pytest.mark.parametrize("index", range(12))
def test_the_picture_shows_every_object_in_its_colour_at_its_place(index: int):
    drawn = MANY[index]
    blobs = _blobs(drawn, 128)
    assert len(blobs) == len(drawn.objects)
    assert Counter(colour for colour, _, _ in blobs) == Counter(o.colour for o in drawn.objects)
    for o in drawn.objects:
        assert any(
            colour == o.colour and math.hypot(x - o.x, y - o.y) < 0.6 * o.radius for colour, x, y in blobs
        )


def test_shapes_look_different():
    """The same object drawn as any two shapes differs in a good part of its own area."""
    base = SceneObject("circle", "red", "medium", 0.5, 0.5, 0.12, 0.0, 0.7)
    pictures = {
        shape: draw(
            dataclasses.replace(MANY[0], objects=(dataclasses.replace(base, shape=shape),)), 128
        ).convert("L")
        for shape in SHAPES
    }
    for one in SHAPES:
        for other in SHAPES:
            if one < other:
                changed = ImageChops.difference(pictures[one], pictures[other]).point(
                    lambda v: 255 if v > 40 else 0
                )
                assert (changed.histogram()[255]) > 0.1 * math.pi * (0.12 * 128) ** 2, (one, other)


def _expected(text: str, objects: tuple[SceneObject, ...]) -> str:
    """The answer reckoned from the question's words and the list of objects, by code of its own."""

    def of(words: str) -> list[SceneObject]:
        names = words.replace("crosses", "cross").split()
        names = [
            w if w in SHAPES else w.removesuffix("s") if w.removesuffix("s") in SHAPES else w for w in names
        ]
        colour = next((w for w in names if w in COLOURS), None)
        shape = next((w for w in names if w in SHAPES), None)
        return [o for o in objects if (not colour or o.colour == colour) and (not shape or o.shape == shape)]

    def one(words: str) -> SceneObject:
        (only,) = of(words)
        return only

    def yes(value: bool) -> str:
        return "yes" if value else "no"

    if match := re.fullmatch(r"how many (.+?) (?:are there|are in the image)\?", text):
        return str(len(of(match[1])))
    if match := re.fullmatch(r"are there more (.+) than (.+)\?", text):
        return yes(len(of(match[1])) > len(of(match[2])))
    if match := re.fullmatch(r"is the (.+) (larger|smaller) than the (.+)\?", text):
        sizes = ["small", "medium", "large"]
        a, b = sizes.index(one(match[1]).size), sizes.index(one(match[3]).size)
        return yes(a > b if match[2] == "larger" else a < b)
    if match := re.fullmatch(r"is the (.+) (to the left of|to the right of|above|below) the (.+)\?", text):
        a, b = one(match[1]), one(match[3])
        gap = {
            "to the left of": b.x - a.x,
            "to the right of": a.x - b.x,
            "above": b.y - a.y,
            "below": a.y - b.y,
        }
        assert abs(gap[match[2]]) > 0.1, "too close to call"
        return yes(gap[match[2]] > 0)
    if match := re.fullmatch(r"what is (to the left of|to the right of|above|below) the (.+)\?", text):
        b = one(match[2])
        place = {
            "to the left of": lambda o: o.x < b.x,
            "to the right of": lambda o: o.x > b.x,
            "above": lambda o: o.y < b.y,
            "below": lambda o: o.y > b.y,
        }[match[1]]
        (only,) = [o for o in objects if o is not b and place(o)]
        return f"{only.colour} {only.shape}"
    if match := re.fullmatch(r"(?:what size is|is) the (.+?)(?: small, medium or large)?\?", text):
        return one(match[1]).size
    if match := re.fullmatch(r"(?:where|in which corner of the image) is the (.+)\?", text):
        o = one(match[1])
        return f"{'top' if o.y < 0.5 else 'bottom'} {'left' if o.x < 0.5 else 'right'}"
    if match := re.fullmatch(r"what (?:color is|is the color of) the (.+)\?", text):
        return one(match[1]).colour
    if match := re.fullmatch(r"what (?:is the|shape is the) (.+) (?:shape|object)\?", text):
        return one(match[1]).shape
    if re.fullmatch(r"what shape (?:is in the image|does the image contain|is present)\?", text):
        return one("").shape
    negated = bool(re.search(r"\b(not|no)\b", text))
    return yes(bool(of(re.sub(r"\W", " ", text))) != negated)


def test_every_answer_agrees_with_an_independent_reckoning():
    skills: Counter[str] = Counter()
    for drawn in MANY:
        asked = questions(drawn)
        assert 1 <= len(asked) <= 8
        assert len({q.text for q in asked}) == len(asked)
        for question in asked:
            assert question.answer == _expected(question.text, drawn.objects), (question, drawn.objects)
            skills[question.skill] += 1
    assert len(skills) == 10
    assert min(skills.values()) > 100


def test_answers_cannot_be_guessed():
    answers: dict[str, Counter[str]] = {}
    for drawn in MANY:
        for question in questions(drawn):
            answers.setdefault(question.skill, Counter())[question.answer] += 1
    for skill in ("existence", "relation", "more", "larger"):
        yes, no = answers[skill]["yes"], answers[skill]["no"]
        assert set(answers[skill]) == {"yes", "no"}
        assert 0.42 < yes / (yes + no) < 0.58, (skill, answers[skill])
    counts = answers["count"]
    assert set(counts) == {"0", "1", "2", "3", "4", "5"}
    assert max(counts.values()) < 0.25 * counts.total()


def test_captions_name_exactly_the_objects():
    for drawn in MANY[:300]:
        kinds = {o.name for o in drawn.objects}
        texts = captions(drawn)
        assert len(set(texts)) >= 8
        for caption in texts:
            said = {
                f"{colour} {shape}"
                for colour in COLOURS
                for shape in SHAPES
                if f"{colour} {shape}" in caption
            }
            assert said == kinds, caption
            assert not re.search(r"\ba [aeiou]|crosss", caption, re.IGNORECASE)


def test_captions_go_from_left_to_right():
    """Only what stands side by side is counted, so that it is named as it comes; relations as they stand."""
    number = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5}
    one_of_them = re.compile(rf"({'|'.join(number)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")
    for drawn in MANY[:300]:
        from_the_left = [o.name for o in sorted(drawn.objects, key=lambda o: o.x)]
        said = one_of_them.findall(captions(drawn)[0])
        named = [f"{colour} {shape}" for many, colour, shape in said for _ in range(number[many])]
        assert named == from_the_left, captions(drawn)[0]
        assert all(first[1:] != second[1:] for first, second in pairwise(said)), said
        names = list(dict.fromkeys(_in_chinese(name) for name in from_the_left))
        first = captions(drawn, "zh")[0]
        assert sorted(names, key=first.index) == names, first


def _in_chinese(name: str) -> str:
    colour, shape = name.split()
    of = {english: chinese for chinese, english in _ZH.items()}
    return of[colour] + of[shape]


def test_a_longer_set_begins_with_the_shorter_one(tmp_path: Path):
    write_scenes(tmp_path / "short", 5, seed=2, size=64)
    write_scenes(tmp_path / "long", 12, seed=2, size=64)
    for image in (tmp_path / "short" / "images").iterdir():
        assert image.read_bytes() == (tmp_path / "long" / "images" / image.name).read_bytes()
    for name in ("pretrain.json", "finetune.json"):
        short, long = load_records(tmp_path / "short" / name), load_records(tmp_path / "long" / name)
        assert (len(short), len(long)) == (5, 12)
        assert long[:5] == short
        assert check_file(tmp_path / "long" / name, None)[0] == []


def test_a_share_of_the_scenes_has_objects_that_are_taken_for_one_another(tmp_path: Path):
    def written(name: str, count: int, share: float) -> list[str]:
        paths = write_scenes(tmp_path / name, count, seed=2, size=64, confusable=share)
        return [record["image"] for record in json.loads(paths["finetune"].read_text())]

    def confusable(images: list[str]) -> int:
        found = 0
        for image in images:
            objects = scene(2, int(Path(image).stem.split("-")[1])).objects
            alike = [[o.shape for o in objects if o.colour == colour] for colour in COLOURS]
            alike += [[o.colour for o in objects if o.shape == shape] for shape in SHAPES]
            found += any(len(others) >= 3 and len(set(others)) > 1 for others in alike)
        return found

    plain, more, most = (written(str(share), 40, share) for share in (0.0, 0.7, 0.9))
    assert confusable(plain) < 28 <= confusable(more) and confusable(most) >= 36
    assert confusable(most) < 40  # the others are still there
    assert written("short", 15, 0.9) == most[:15]
    with pytest.raises(UserError, match="no share"):
        write_scenes(tmp_path, 5, confusable=1.5)


def test_pictures_have_the_size_asked_for_and_one_seed_is_not_another(tmp_path: Path):
    write_scenes(tmp_path / "a", 2, seed=0, size=96)
    write_scenes(tmp_path / "b", 2, seed=1, size=96)
    with Image.open(tmp_path / "a" / "images" / "0-0.png") as picture:
        assert (picture.size, picture.mode) == ((96, 96), "RGB")
    assert (tmp_path / "a" / "finetune.json").read_text() != (tmp_path / "b" / "finetune.json").read_text()


@pytest.mark.parametrize(("count", "size"), [(0, 224), (5, 8), (5, 100_000)])
def test_numbers_that_make_no_set_are_refused(tmp_path: Path, count: int, size: int):
    with pytest.raises(UserError):
        write_scenes(tmp_path, count, size=size)
    assert not any(tmp_path.iterdir())


_ZH = {"中号": "medium", "小号": "small", "大号": "large"}
_ZH |= dict(
    zip(
        ("圆形", "长方形", "三角形", "星形", "菱形", "十字形", "圆环", "心形"),
        ("circle", "rectangle", "triangle", "star", "diamond", "cross", "ring", "heart"),
        strict=True,
    )
)
_ZH |= dict(
    zip(
        ("黑色", "蓝色", "棕色", "灰色", "绿色", "红色", "青色", "黄色", "橙色", "紫色"),
        ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow", "orange", "purple"),
        strict=True,
    )
)


def _expected_in_chinese(text: str, objects: tuple[SceneObject, ...]) -> str:
    """As `_expected`, from a Chinese question's words alone."""

    def of(words: str) -> list[SceneObject]:
        said = [english for chinese, english in _ZH.items() if chinese in words]
        return [o for o in objects if all(word in (o.colour, o.shape) for word in said)]

    def one(words: str) -> SceneObject:
        (only,) = of(words)
        return only

    def name(value: str) -> str:
        return next(chinese for chinese, english in _ZH.items() if english == value)

    def yes(value: bool) -> str:
        return "是" if value else "不是"

    gaps = {
        "左边": lambda a, b: b.x - a.x,
        "右边": lambda a, b: a.x - b.x,
        "上面": lambda a, b: b.y - a.y,
        "下面": lambda a, b: a.y - b.y,
    }
    if match := re.fullmatch(r"(?:图片里)?有几个(.+)？", text):
        return str(len(of(match[1])))
    if match := re.fullmatch(r"(.+)比(.+)多吗？", text):
        return yes(len(of(match[1])) > len(of(match[2])))
    if match := re.fullmatch(r"(.+)比(.+)(大|小)吗？", text):
        difference = one(match[1]).radius - one(match[2]).radius
        return yes(difference > 0 if match[3] == "大" else difference < 0)
    if match := re.fullmatch(r"(.+)在(.+)的(左边|右边|上面|下面)吗？", text):
        return yes(gaps[match[3]](one(match[1]), one(match[2])) > 0)
    if match := re.fullmatch(r"(.+)的(左边|右边|上面|下面)是什么？", text):
        anchor = one(match[1])
        (only,) = [o for o in objects if o is not anchor and gaps[match[2]](o, anchor) > 0]
        return name(only.colour) + name(only.shape)
    if match := re.fullmatch(r"(.+?)(?:有多大|是小号、中号还是大号)？", text):
        return name(one(match[1]).size)
    if match := re.fullmatch(r"(.+?)在(?:哪里|图片的哪个角)？", text):
        o = one(match[1])
        return f"{'左' if o.x < 0.5 else '右'}{'上' if o.y < 0.5 else '下'}角"
    if match := re.fullmatch(r"(.+?)(?:是什么颜色的|的颜色是什么)？", text):
        return name(one(match[1]).colour)
    if "形状" in text:
        return name(one(text).shape)
    if "对" in text:
        return "不对" if of(text) else "对"
    return "有" if of(text) else "没有"


def test_every_chinese_answer_agrees_with_a_reckoning_in_chinese():
    for drawn in MANY[:600]:
        asked, twins = questions(drawn, "zh"), questions(drawn)
        assert [q.skill for q in asked] == [q.skill for q in twins]
        for question in asked:
            assert not re.search("[a-zA-Z{}]", question.text + question.answer)
            assert question.answer == _expected_in_chinese(question.text, drawn.objects), question


def test_chinese_captions_name_exactly_the_objects():
    for drawn in MANY[:300]:
        kinds = {o.name for o in drawn.objects}
        for caption in captions(drawn, "zh"):
            pairs = re.findall(rf"({'|'.join(_ZH)})({'|'.join(_ZH)})(?=个|、|和|在|的|。|$)", caption)
            assert {f"{_ZH[colour]} {_ZH[shape]}" for colour, shape in pairs} == kinds, caption
            assert not re.search("[a-zA-Z{}]", caption)


def test_a_question_s_words_do_not_give_its_answer_away():
    """The answer that is most frequent to the same words elsewhere is hardly better than chance."""
    seen: dict[str, dict[str, Counter[str]]] = {}
    for index in range(2000):
        for q in questions(scene(12, index)):
            seen.setdefault(q.skill, {}).setdefault(q.text, Counter())[q.answer] += 1
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for drawn in MANY:
        for q in questions(drawn):
            known = seen[q.skill].get(q.text) or sum(seen[q.skill].values(), Counter())
            right[q.skill] += known.most_common(1)[0][0] == q.answer
            asked[q.skill] += 1
    chance = {"existence": 0.5, "relation": 0.5, "more": 0.5, "larger": 0.5, "count": 1 / 6, "size": 1 / 3}
    chance |= {"position": 0.25, "colour": 0.1, "shape": 0.125, "neighbour": 0.02}
    for skill, share in chance.items():
        assert right[skill] / asked[skill] < share + 0.08, (skill, right[skill] / asked[skill])


def test_both_languages_share_a_picture(tmp_path: Path):
    write_scenes(tmp_path / "both", 3, size=64, language="both")
    write_scenes(tmp_path / "en", 3, size=64)
    for name in ("pretrain.json", "finetune.json"):
        both, english = load_records(tmp_path / "both" / name), load_records(tmp_path / "en" / name)
        assert both[::2] == english
        assert [r.image for r in both[1::2]] == [r.image for r in english]
        assert all(re.search("[\u4e00-\u9fff]", t.value) for r in both[1::2] for t in r.conversations[::2])
        assert check_file(tmp_path / "both" / name, None)[0] == []
