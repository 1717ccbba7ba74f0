from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tuning.data.structure import row_problems
from llava_tuning.distillation.questions import TeacherQuestion, from_file, from_folder
from llava_tuning.distillation.templates import FiveQuestions, Plain
from llava_tuning.errors import UserError


def write(file: Path, rows: list[Any]) -> Path:
    text = json.dumps(rows) if file.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return file


ROWS = [
    {"id": 7, "question": " What is it? ", "image": "red.png", "system": "Be brief."},
    {"question": "什么颜色？", "image": None},
]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_rows_of_a_file(tmp_path: Path, pictures: Path, suffix: str) -> None:
    first, second = from_file(write(tmp_path / f"q{suffix}", ROWS), Plain(), pictures, system="Be kind.")
    assert first == TeacherQuestion("7", "What is it?", "red.png", pictures / "red.png", "Be brief.")
    assert (second.text, second.image, second.path, second.system) == ("什么颜色？", None, None, "Be kind.")
    assert len(second.id) == 12
    again = from_file(write(pictures / f"q{suffix}", ROWS), Plain())
    assert again[0] == first  # pictures lie beside the file where no folder is named


def test_pictures_of_a_folder(pictures: Path) -> None:
    rows = from_folder(pictures, Plain(), ["What?", "Where?"])
    assert [(row.image, row.text) for row in rows[:3]] == [
        ("green.jpg", "What?"), ("green.jpg", "Where?"), ("more/blue.webp", "What?"),
    ]  # fmt: skip
    assert len({row.id for row in rows}) == 6
    by_themselves = from_folder(pictures, FiveQuestions(), system="See.")
    assert [(row.image, row.text, row.system) for row in by_themselves] == [
        (image, "", "See.") for image in ("green.jpg", "more/blue.webp", "red.png")
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["question"], "record 1 is not an object"),
        ({"id": "x"}, r"record 1 \(id 'x'\) has no question"),
        ({"question": 3}, "question that is not text"),
        ({"question": "What?", "image": ["a.png", "b.png"]}, "image that is not text"),
        ({"question": "<image>\nWhat?", "image": "a.png"}, "holds <image>"),
        ({"question": "What?", "image": "https://example.com/a.png"}, "names https://example.com/a.png"),
        ({"question": "What?", "image": "data:image/png;base64,AAAA"}, "save it and give the file's path"),
        ({"question": "\ud800"}, "half a surrogate pair"),
        ({"id": "7", "question": "Another?"}, "two different rows have the id '7'"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_asked(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        from_file(write(tmp_path / "q.jsonl", [ROWS[0], row]), Plain())


def test_questions_and_template_must_go_together(tmp_path: Path, pictures: Path) -> None:
    five = FiveQuestions()
    for row in ({"question": "What?", "image": "red.png"}, {"system": "no picture"}):
        with pytest.raises(UserError, match="five-questions takes rows with an image and without a question"):
            from_file(write(tmp_path / "q.jsonl", [row]), five)
    with pytest.raises(UserError, match="brings its own questions"):
        from_folder(pictures, five, ["What?"])
    with pytest.raises(UserError, match="add --question or --template five-questions"):
        from_folder(pictures, Plain())
    with pytest.raises(UserError, match="write a text without <image>"):
        from_folder(pictures, Plain(), ["<image> What?"])
    with pytest.raises(UserError, match="no such picture folder"):
        from_file(tmp_path / "q.jsonl", five, tmp_path / "gone")


def test_a_question_knows_its_record() -> None:
    question = TeacherQuestion("1", "What?", "a.png", Path("a.png"), "Be brief.")
    record = question.record([("What?", "A cat.")])
    assert not row_problems(record.to_dict())
    assert [turn.value for turn in record.conversations] == ["Be brief.", "<image>\nWhat?", "A cat."]
    assert question.fits(record)
    for other in (
        TeacherQuestion("1", "Who?", "a.png", Path("a.png"), "Be brief."),
        TeacherQuestion("1", "What?", "b.png", Path("b.png"), "Be brief."),
        TeacherQuestion("1", "What?", "a.png", Path("a.png"), None),
        TeacherQuestion("1", "What?", None, None, "Be brief."),
    ):
        assert not other.fits(record)
    assert TeacherQuestion("1", "", "a.png", Path("a.png"), "Be brief.").fits(
        record
    )  # the teacher's question
    assert not TeacherQuestion("1", "", "a.png", Path("a.png")).fits(record)
