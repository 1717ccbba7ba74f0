"""Everyday pictures: true answers, balanced ones, nothing of the test split, and limits that are said."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from everyday_cases import THINGS, write_everyday
from PIL import Image
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.data.check import check_file
from llava_tuning.data.everyday.concepts import CONCEPTS
from llava_tuning.data.everyday.conversations import write_conversations
from llava_tuning.data.everyday.limits import (
    CHINESE_ANSWERS,
    PHOTOGRAPH_ANSWERS,
    chinese_questions,
    declines_chinese,
    declines_photograph,
    photograph_turn,
)
from llava_tuning.data.everyday.names import may_be_mistaken, with_its_article
from llava_tuning.data.everyday.questions import DRAWN, Asker
from llava_tuning.data.everyday.table import EverydayPicture, read_table, write_table
from llava_tuning.data.everyday.wordings import ANSWERS, CAPTIONS, QUESTIONS
from llava_tuning.data.load import load_records
from llava_tuning.errors import UserError

ZH = {name: chinese for name, chinese, *_ in THINGS if chinese}
DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_everyday(tmp_path_factory.mktemp("everyday"))


@pytest.fixture(scope="module")
def pool(folder: Path) -> list[EverydayPicture]:
    return [picture for picture in read_table(folder) if picture.split == "train"]


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    photographs = tmp_path_factory.mktemp("photographs")
    Image.effect_noise((90, 60), 80).save(photographs / "street.jpg")
    out = tmp_path_factory.mktemp("out")
    arguments = [str(folder), "--out", str(out), "--count", "120", "--size", "64", "--language", "both"]
    result = CliRunner().invoke(
        _build(), ["data", "everyday-questions", *arguments, "--photographs", str(photographs)]
    )
    assert result.exit_code == 0, result.output
    return out


def picture(name: str, pool: list[EverydayPicture]) -> EverydayPicture:
    return next(one for one in pool if one.name == name)


@pytest.mark.parametrize(
    ("name", "fact", "holds"),
    [
        ("dog", "animal", True),
        ("bus", "animal", False),
        ("spider web", "animal", None),
        ("grinning face", "animal", None),
        ("pizza", "food", True),
        ("dog", "food", None),
        ("hammer", "food", False),
        ("beer mug", "drink", True),
        ("bus", "vehicle", True),
        ("owl", "bird", True),
        ("dog", "bird", False),
        ("red apple", "fruit", True),
        ("carrot", "fruit", None),
        ("guitar", "musical instrument", True),
        ("jeans", "clothing", True),
        ("hospital", "building", True),
        ("helicopter", "building", False),
        ("cactus", "plant", True),
    ],
)
def test_facts_follow_from_groups_where_people_agree(
    name: str, fact: str, holds: bool | None, pool: list[EverydayPicture]
):
    (concept,) = [concept for concept in CONCEPTS if concept.key == fact]
    assert concept.holds(picture(name, pool)) is holds


def test_every_answer_about_one_picture_is_true(pool: list[EverydayPicture]):
    for language in ("en", "zh"):
        asker = Asker(pool, language)
        words = ANSWERS[language]
        for seed in range(40):
            for one in asker.known:
                name = one.name if language == "en" else ZH[one.name]
                for q in asker.about_one(one, random.Random(seed)):
                    if q.skill == "name":
                        assert q.answer == name
                    elif q.skill == "existence":
                        assert (q.answer == words["there"]) == bool(
                            re.search(rf"\b{name}\b|{ZH.get(one.name, name)}", q.text)
                        )
                        assert (q.absent is None) == (q.answer == words["there"])
                    elif q.skill == "absent thing":
                        missing = q.answer.removeprefix("I see no ").removesuffix(" in the picture.")
                        missing = missing.removeprefix("图片里没有").removesuffix("。")
                        assert missing in q.text and missing != name
                    elif q.skill == "colour":
                        assert one.colour and q.answer in (one.colour, ANSWERS and _zh(one.colour))


def _zh(colour: str) -> str:
    from llava_tuning.data.everyday.names import COLOURS_ZH

    return COLOURS_ZH[colour]


def test_answers_about_things_side_by_side_are_true(pool: list[EverydayPicture]):
    asker = Asker(pool, "en")
    sides = {"left": 0, "right": -1}
    kinds = {c.plural[0]: c for c in CONCEPTS if c.plural}
    seen: Counter[str] = Counter()
    for seed in range(400):
        rng = random.Random(seed)
        row = asker.row(rng)
        names = [one.name for one in row]
        for q in asker.about_row(row, rng):
            if match := re.fullmatch(r"what is (?:on|in) the (left|right|middle)\?", q.text):
                assert q.answer == (names[1] if match[1] == "middle" else names[sides[match[1]]])
                assert match[1] != "middle" or len(row) == 3
            elif match := re.fullmatch(r"(?:is|are) the (.+) to the (left|right) of the (.+)\?", q.text):
                before = names.index(match[1]) < names.index(match[3])
                assert q.answer == ("yes" if before == (match[2] == "left") else "no")
            elif q.skill == "place":
                (name,) = [name for name in names if name in q.text]
                assert names.index(name) == {"left": 0, "middle": 1, "right": len(row) - 1}[q.answer]
            elif match := re.fullmatch(r"how many (.+?) (?:are in the picture|do you see)\?", q.text):
                counted = (
                    [kinds[match[1]].holds(one) for one in row] if match[1] in kinds else [True] * len(row)
                )
                assert q.answer == str(sum(map(bool, counted))) and None not in counted
            elif q.skill == "existence":
                assert (q.answer == "yes") == any(name in q.text for name in names)
            elif q.skill == "colour":
                assert any(one.name in q.text and one.colour == q.answer for one in row)
            seen[q.skill] += 1
    assert set(seen) == {"count", "place", "order", "existence", "absent thing", "colour"}


def test_yes_and_no_are_balanced_and_not_told_by_the_name(pool: list[EverydayPicture]):
    asker = Asker(pool, "en")
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[str, Counter[str]] = defaultdict(Counter)
    for seed in range(60):
        for number, one in enumerate(asker.known):
            rng = random.Random(f"{seed} {number}")
            row = asker.row(rng)
            for q in (*asker.about_one(one, rng), *asker.about_row(row, rng)):
                answers[q.skill][q.answer] += 1
                if q.skill == "existence":
                    (name,) = {thing for thing, *_ in THINGS if re.search(rf"\b{thing}\b", q.text)}
                    names[name][q.answer] += 1
    for skill in ("existence", "fact", "order"):
        assert 0.42 < answers[skill]["yes"] / answers[skill].total() < 0.58, (skill, answers[skill])
    guessed = sum(max(counter.values()) for counter in names.values())
    assert guessed / sum(counter.total() for counter in names.values()) < 0.62
    assert max(answers["count"].values()) < 0.45 * answers["count"].total()


def test_a_colour_is_asked_of_what_is_there_about_as_often_as_of_what_is_not(pool: list[EverydayPicture]):
    asker = Asker(pool, "en")
    there = Counter[bool]()
    wordings = {wording.split("{noun}")[0] for wording in QUESTIONS["en"]["colour of"]}
    for seed in range(60):
        for number, one in enumerate(asker.known):
            rng = random.Random(f"{seed} {number}")
            for q in (*asker.about_one(one, rng), *asker.about_row(asker.row(rng), rng)):
                words = re.sub("^(what color|which color) (are|do)", "what color is", q.text)
                if any(q.text.startswith(wording) or words.startswith(wording) for wording in wordings):
                    there[q.skill == "colour"] += 1
    assert there.total() > 500 and 0.4 < there[True] / there.total() < 0.65, there


def test_absent_things_are_drawn_in_three_ways(pool: list[EverydayPicture]):
    asker = Asker(pool, "en")
    dog = picture("dog", pool)
    mammals = {"elephant", "giraffe", "kangaroo"}
    drawn = {
        way: {found.name for seed in range(200) if (found := asker.absent([dog], way, random.Random(seed)))}
        for way in DRAWN
    }
    assert drawn["adversarial"] == mammals
    assert all("dog" not in names for names in drawn.values())
    assert len(drawn["random"]) > 15
    popular = Asker([*pool, *[picture("bus", pool)] * 400], "en")
    found = Counter(
        absent.name for s in range(100) if (absent := popular.absent([dog], "popular", random.Random(s)))
    )
    assert found["bus"] > 60


def test_whether_something_is_there_cannot_be_told_from_what_was_said_before(pool: list[EverydayPicture]):
    """After a no, yes is as likely as no; after a yes nothing more is asked; the name comes last, mostly."""
    asker = Asker(pool, "en")
    answers, last = [Counter[str](), Counter[str]()], Counter[bool]()
    for seed in range(150):
        for number, one in enumerate(asker.known):
            asked = asker.about_one(one, random.Random(f"{seed} {number}"))
            existence = [q.answer for q in asked if q.skill == "existence"]
            assert "yes" not in existence[:-1] and len(existence) <= 2
            for place, answer in enumerate(existence):
                answers[place][answer] += 1
            if len(asked) > 1:
                last[asked[-1].skill == "name"] += 1
    for place in answers:
        assert 0.47 < place["yes"] / place.total() < 0.53
    assert 0.75 < last[True] / last.total() < 0.85


@pytest.mark.parametrize(
    ("one", "other", "mistaken"),
    [
        ("dog", "guide dog", True),
        ("red apple", "green apple", True),
        ("ship", "motor boat", True),
        ("red apple", "red envelope", True),
        ("dog", "bus", False),
        ("pile of poo", "sheaf of rice", False),
    ],
)
def test_things_that_look_alike_are_not_said_to_be_absent(one: str, other: str, mistaken: bool):
    first, second = (EverydayPicture("", "noto", n, None, "objects", "x", None, "test") for n in (one, other))
    assert may_be_mistaken(first, second) is may_be_mistaken(second, first) is mistaken


def test_articles_and_verbs_fit_the_name(pool: list[EverydayPicture]):
    assert [
        with_its_article(n) for n in ("owl", "grapes", "cooked rice", "bus", "sunrise over mountains")
    ] == [*("an owl", "grapes", "cooked rice", "a bus", "a sunrise over mountains")]
    texts = {
        q.text
        for seed in range(60)
        for q in Asker(pool, "en").about_one(picture("grapes", pool), random.Random(seed))
        if "grapes" in q.text
    }
    assert {"are there grapes?", "what color are the grapes?"} <= texts
    assert not any(re.search(r"\b(is|does|a|an) (the |there )?grapes", text) for text in texts)


def test_both_languages_have_as_many_wordings():
    for kind, wordings in QUESTIONS["en"].items():
        assert len(wordings) == len(QUESTIONS["zh"][kind])
        for language in ("en", "zh"):
            fields = [re.findall(r"\{(\w+)\}", wording) for wording in QUESTIONS[language][kind]]
            assert all(found == [] or found[0] in ("noun", "a", "kind") for found in fields)
    assert len(CAPTIONS["en"]) == len(CAPTIONS["zh"])


def test_what_is_written_is_for_training_alone_and_passes_the_check(written: Path, folder: Path):
    shown = {name for name, *_ in THINGS} | set(ZH.values()) | {"Adelaide Rosella"}
    for name in ("pretrain", "finetune"):
        records = load_records(written / f"{name}.json")
        assert len(records) == 120 and check_file(written / f"{name}.json", None)[0] == []
        text = json.dumps([r.to_dict() for r in records], ensure_ascii=False)
        assert "grouse" not in text and "macaw" not in text
        assert Image.open(written / (records[0].image or "")).size == (64, 64)
    assert any(thing in text for thing in shown)
    assert all(len(r.conversations) <= 12 for r in records)
    chinese = sum(bool(re.search("[\u4e00-\u9fff]", r.conversations[0].value)) for r in records)
    assert chinese == 60
    limits = load_records(written / "limits.json")
    assert check_file(written / "limits.json", None)[0] == []
    photographs = [record for record in limits if record.image]
    assert len(photographs) == 4
    for record in photographs:
        answer = record.conversations[1].value
        assert declines_photograph(answer, "en") or declines_photograph(answer, "zh")
    assert all(declines_chinese(r.conversations[1].value) for r in limits if not r.image)


def test_names_are_asked_of_pictures_of_one_thing_alone(written: Path):
    names = load_records(written / "names.json")
    captions = {r.image: r.conversations[1].value for r in load_records(written / "pretrain.json")}
    assert check_file(written / "names.json", None)[0] == [] and 60 < len(names) < 120
    for record in names:
        question, answer = (turn.value for turn in record.conversations)
        language = "zh" if re.search("[\u4e00-\u9fff]", question) else "en"
        question = question.removeprefix("<image>\n")
        assert question[0].lower() + question[1:] in QUESTIONS[language]["name"]
        assert answer in captions[record.image]
    several = "、|, (?!mostly)| and |side by side"
    one = {image for image, caption in captions.items() if not re.search(several, caption)}
    assert {record.image for record in names} == one


def test_a_seed_writes_the_same_files(written: Path, folder: Path, tmp_path: Path):
    paths = write_conversations(folder, tmp_path, 12, size=64, language="both")
    again = load_records(paths["finetune"])
    assert [r.to_dict() for r in again] == [r.to_dict() for r in load_records(written / "finetune.json")[:12]]
    other = write_conversations(folder, tmp_path / "other", 12, seed=1, size=64, language="both")
    assert load_records(other["finetune"]) != again


def test_a_greeting_is_answered_and_what_is_beyond_the_model_declined_never_both():
    asked = [r.conversations[0].value for r in load_records(DEMO / "small_talk.jsonl")]
    held_out = {r.conversations[0].value for r in load_records(DEMO / "general_held_out.jsonl")}
    declined = {*chinese_questions("train"), *chinese_questions("test")}
    assert len(set(asked)) == len(asked) and not set(asked) & (held_out | declined)
    greeting = next(r for r in load_records(DEMO / "small_talk.jsonl") if r.conversations[0].value == "你好")
    assert not declines_chinese(greeting.conversations[1].value)


def test_limits_are_said_in_so_many_words_and_nothing_is_asked_twice():
    for language, answers in PHOTOGRAPH_ANSWERS.items():
        assert all(declines_photograph(answer, language) for answer in answers)
        assert not declines_photograph("a dog" if language == "en" else "一只狗", language)
        assert photograph_turn(language, random.Random(0))[1] in answers
    assert all(declines_chinese(answer) for answer in CHINESE_ANSWERS)
    assert not declines_chinese("巴黎。")
    train, test = (list(chinese_questions(split)) for split in ("train", "test"))
    assert len(train) > 300 and len(test) > 40
    assert not set(train) & set(test)


def test_a_style_that_is_held_out_is_neither_shown_nor_asked_about(tmp_path: Path):
    Image.new("RGBA", (40, 40), "red").save(tmp_path / "a.png")
    rows = [
        EverydayPicture("a.png", "openmoji", "dog", None, "animals-nature", "animal-mammal", None, "train"),
        EverydayPicture("lost.png", "fxemoji", "cat", None, "animals-nature", "animal-mammal", None, "train"),
    ]
    write_table(tmp_path, rows)
    paths = write_conversations(tmp_path, tmp_path / "out", 30, size=64, held_out_style="fxemoji")
    written = paths["pretrain"].read_text() + paths["finetune"].read_text()
    assert "dog" in written and "cat" not in written
    with pytest.raises(UserError, match="no style 'noto'; choose one of fxemoji, openmoji"):
        write_conversations(tmp_path, tmp_path / "out", 30, size=64, held_out_style="noto")


def test_a_folder_without_training_pictures_or_a_broken_one_is_named(folder: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"no such table; .*--out '.*/not there'`"):  # as a shell takes it
        write_conversations(tmp_path / "not there", tmp_path / "out", 3)
    rows = [row for row in read_table(folder) if row.split == "test"]
    (tmp_path / "test").mkdir()
    write_table(tmp_path / "test", rows)
    with pytest.raises(UserError, match="is for training"):
        write_conversations(tmp_path / "test", tmp_path / "out", 3)
    (tmp_path / "lost").mkdir()
    write_table(tmp_path / "lost", [row for row in read_table(folder) if row.split == "train"])
    with pytest.raises(UserError, match=r"pictures/.*: no such picture"):
        write_conversations(tmp_path / "lost", tmp_path / "out", 3)
    with pytest.raises(UserError, match="0 pictures"):
        write_conversations(folder, tmp_path / "out", 0)
