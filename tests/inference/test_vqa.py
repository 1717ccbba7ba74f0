"""A batch run loses and repeats no row, whatever interrupts it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.errors import UserError
from llava_tuning.inference.answer_file import AnswerFile, fingerprint, run_meta
from llava_tuning.inference.backend import GREEDY, ChatMessage, GenerationSettings
from llava_tuning.inference.questions import (
    DESCRIBE,
    PictureQuestion,
    questions_from_file,
    questions_from_folder,
    read_question_file,
)
from llava_tuning.inference.transformers_backend import TransformersBackend
from llava_tuning.inference.vqa import VqaSummary, answer_questions

SHORT = replace(GREEDY, max_new_tokens=3)
META = {"model": "m", "fingerprint": "f", "settings": {}}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(
    backend: Any, questions: Sequence[PictureQuestion], out: Path, meta: dict[str, Any] = META, **options: Any
) -> VqaSummary:
    with AnswerFile(out, meta) as answers:
        return answer_questions(backend, questions, answers, SHORT, **options)


class Interrupted:
    """The real model, until Ctrl-C after so many batches."""

    def __init__(self, backend: TransformersBackend, batches: int) -> None:
        self._backend, self._left = backend, batches

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._backend.answer_batch(conversations, settings)


def test_an_interrupted_run_is_continued(llava: TransformersBackend, pictures: Path, tmp_path: Path) -> None:
    questions = questions_from_folder(pictures, ["What colour is it?", "What shape is it?"])
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert run(llava, questions, whole, batch_size=2) == VqaSummary(rows=8, added=8, errors=2)
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(llava, 2), questions, out, batch_size=2)
    assert 0 < len(read(out)) < 8
    with out.open("a") as file:
        file.write('{"id": "torn in the midd')  # as after a power cut
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(llava, 1), questions, out, batch_size=2)
    run(llava, questions, out, batch_size=2)
    assert read(out) == read(whole)


def test_a_finished_run_asks_nothing_again(
    llava: TransformersBackend, pictures: Path, tmp_path: Path
) -> None:
    questions, out = questions_from_folder(pictures), tmp_path / "out.jsonl"
    run(llava, questions, out, limit=3)
    assert len(read(out)) == 3
    assert run(llava, questions, out) == VqaSummary(rows=4, added=1, errors=1)
    before = out.read_bytes()
    assert run(Interrupted(llava, 0), questions, out) == VqaSummary(rows=4, added=0, errors=1)
    assert out.read_bytes() == before


def test_rows_say_what_was_asked_and_what_went_wrong(
    llava: TransformersBackend, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    run(llava, questions_from_folder(pictures), out)
    rows = {row["image"]: row for row in read(out)}
    assert set(rows) == {"red.png", "green.JPG", "more/blue.webp", "broken.png"}
    assert "not a picture" in rows["broken.png"]["error"] and "answer" not in rows["broken.png"]
    assert rows["red.png"]["question"] == DESCRIBE and rows["red.png"]["answer"]
    assert len({row["id"] for row in rows.values()}) == 4


def test_no_picture_of_the_folder_is_left_out(
    llava: TransformersBackend, pictures: Path, tmp_path: Path
) -> None:
    """A link to nothing and a format that is not read become rows with an error."""
    (pictures / "link.png").symlink_to(tmp_path / "gone.png")
    Image.new("RGB", (9, 9)).save(pictures / "scan.tiff")
    run(llava, questions_from_folder(pictures), tmp_path / "out.jsonl")
    rows = {row["image"]: row for row in read(tmp_path / "out.jsonl")}
    assert "no such picture file" in rows["link.png"]["error"]
    assert "error" in rows["scan.tiff"] and rows["red.png"]["answer"]


def test_only_the_question_that_is_too_long_fails(
    llava: TransformersBackend, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llava, "max_length", 100)
    questions = [
        PictureQuestion(str(i), "red.png", text, pictures / "red.png")
        for i, text in enumerate(["What is it?", "word " * 200, "What colour?"])
    ]
    out = tmp_path / "out.jsonl"
    assert run(llava, questions, out, batch_size=3).errors == 1
    assert ["error" in row for row in read(out)] == [False, True, False]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fingerprint": "g"}, "answers of m, whose files were others"),
        ({"fingerprint": "g", "model": "new"}, "answers of m, not of new"),
        ({"settings": {"temperature": 1}}, r"other settings \(temperature None, now 1\)"),
    ],
)
def test_answers_of_another_model_or_settings_are_not_mixed(
    llava: TransformersBackend, pictures: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    out = tmp_path / "out.jsonl"
    run(llava, questions_from_folder(pictures), out)
    before = out.read_bytes()
    with pytest.raises(UserError, match=said):
        run(llava, questions_from_folder(pictures), out, META | changed)
    with pytest.raises(UserError, match=r"out\.jsonl: has a row that is not among these questions"):
        run(llava, questions_from_folder(pictures, ["Something else?"]), out)
    assert out.read_bytes() == before


def test_a_file_that_is_not_of_a_run_is_left_alone(
    llava: TransformersBackend, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text('{"mine": 1}\n')
    with pytest.raises(UserError, match="choose another --out"):
        run(llava, questions_from_folder(pictures), out)
    assert out.read_text() == '{"mine": 1}\n'


def test_damage_in_the_middle_is_named(llava: TransformersBackend, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(llava, questions_from_folder(pictures), out)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join([lines[0], "{broken\n", *lines[1:]]))
    with pytest.raises(UserError, match="line 2"):
        run(llava, questions_from_folder(pictures), out)


def test_two_runs_cannot_write_one_file(llava: TransformersBackend, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with AnswerFile(out, META), pytest.raises(UserError, match="another run"):
        run(llava, questions_from_folder(pictures), out)
    run(llava, questions_from_folder(pictures), out)


def test_the_fingerprint_tells_weights_apart(blind_llava: Path, text_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in blind_llava.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert fingerprint(copy) == fingerprint(blind_llava) != fingerprint(text_model)
    with (copy / "model.safetensors").open("r+b") as weights:  # trained on: same size, other values
        weights.seek(-1000, 2)
        weights.write(bytes(500))
    assert run_meta("m", copy, SHORT, "int8") != run_meta("m", blind_llava, SHORT, "int8")


class TestQuestionFiles:
    ROWS = (
        {"id": "a", "image": "red.png", "question": 'What is "it", then?'},
        {"id": "", "image": "more/blue.webp", "question": "Was ist das? 这是什么？"},
    )

    def write(self, file: Path, rows: Sequence[dict[str, Any]]) -> Path:
        if file.suffix == ".csv":
            import csv

            with file.open("w", encoding="utf-8-sig", newline="") as stream:  # as Excel saves it
                writer = csv.DictWriter(stream, ["id", "image", "question"])
                writer.writeheader()
                writer.writerows(rows)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return file

    @pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
    def test_both_formats_say_the_same(self, pictures: Path, tmp_path: Path, suffix: str) -> None:
        file = self.write(tmp_path / f"questions{suffix}", self.ROWS)
        questions = questions_from_file(file, pictures)
        assert [(q.image, q.question) for q in questions] == [(r["image"], r["question"]) for r in self.ROWS]
        assert questions[0].id == "a" and questions[1].id
        assert all(question.path.is_file() for question in questions)

    def test_pictures_lie_beside_the_file_by_default(self, pictures: Path) -> None:
        file = self.write(pictures / "questions.jsonl", self.ROWS)
        assert questions_from_file(file)[0].path == pictures / "red.png"

    def test_the_same_row_twice_is_asked_once(self, pictures: Path, tmp_path: Path) -> None:
        file = self.write(tmp_path / "q.jsonl", [*self.ROWS, *self.ROWS])
        assert len(questions_from_file(file, pictures)) == 2

    def test_a_picture_can_be_left_out_where_none_is_needed(self, tmp_path: Path) -> None:
        for suffix in (".csv", ".jsonl"):
            file = self.write(tmp_path / f"q{suffix}", [{"question": "What?"}, {**self.ROWS[0]}])
            with pytest.raises(UserError, match="image"):
                read_question_file(file)
            rows = read_question_file(file, ["question"])
            assert (rows[0].image, rows[0].question) == ("", "What?")
            assert rows[1].image == self.ROWS[0]["image"]

    @pytest.mark.parametrize(
        "row",
        [
            {"question": "What?"},
            {"image": "red.png", "question": " "},
            [1],
            {"image": "red.png", "question": "\ud800"},
        ],
    )
    def test_a_bad_row_is_named(self, pictures: Path, tmp_path: Path, row: Any) -> None:
        file = self.write(tmp_path / "q.jsonl", [self.ROWS[0], row])
        with pytest.raises(UserError, match=r"q\.jsonl: row 2"):
            questions_from_file(file, pictures)

    def test_a_question_that_is_no_text_is_told_as_that(self, pictures: Path, tmp_path: Path) -> None:
        file = self.write(tmp_path / "q.jsonl", [{"image": "red.png", "question": 7}])
        with pytest.raises(UserError, match=r"row 1: the field 'question' is 7, not text; put it in quotes"):
            questions_from_file(file, pictures)

    def test_missing_files_and_folders_are_named(self, pictures: Path, tmp_path: Path) -> None:
        for call in (
            lambda: questions_from_file(tmp_path / "none.csv"),
            lambda: questions_from_file(tmp_path / "none.jsonl"),
            lambda: questions_from_folder(tmp_path / "none"),
            lambda: questions_from_file(self.write(tmp_path / "q.jsonl", self.ROWS), tmp_path / "none"),
        ):
            with pytest.raises(UserError, match="none"):
                call()
        (tmp_path / "semicolons.csv").write_text("image;question\na.png;What?\n")
        with pytest.raises(UserError, match="separated by commas"):
            questions_from_file(tmp_path / "semicolons.csv", pictures)
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="no pictures"):
            questions_from_folder(tmp_path / "empty")


class TestCommand:
    def invoke(self, *arguments: str | Path) -> tuple[int, str, BaseException | None]:
        result = CliRunner().invoke(_build(), ["vqa", *map(str, arguments)])
        return result.exit_code, result.output, result.exception

    def test_exit_status_1_when_a_row_has_an_error(
        self, blind_llava: Path, pictures: Path, tmp_path: Path
    ) -> None:
        options = (
            blind_llava,
            "--images",
            pictures,
            "--out",
            tmp_path / "out.jsonl",
            "--max-new-tokens",
            "2",
        )
        code, output, _ = self.invoke(*options)
        assert code == 1 and "1 with an error" in output
        assert len(read(tmp_path / "out.jsonl")) == 4
        assert self.invoke(*options)[0] == 1  # and still when continued

        (pictures / "broken.png").unlink()
        code, output, _ = self.invoke(
            blind_llava, "--images", pictures, "--out", tmp_path / "two.jsonl", "--max-new-tokens", "2",
            "--question", "What is it?", "--question", "What colour?",
        )  # fmt: skip
        assert code == 0 and len(read(tmp_path / "two.jsonl")) == 6

    def test_mistakes_are_told_before_a_model_is_loaded(
        self, text_model: Path, blind_llava: Path, pictures: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.jsonl"
        for arguments in (
            (text_model, "--out", out),
            (text_model, "--out", out, "--questions", "q.csv", "--question", "What?"),
            (tmp_path / "none", "--out", out, "--images", pictures),
            (text_model, "--out", out, "--images", pictures),
            (blind_llava, "--out", tmp_path, "--images", pictures),
        ):
            assert isinstance(self.invoke(*arguments)[2], UserError)
        assert not out.exists() or not out.read_bytes()
