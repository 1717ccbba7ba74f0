"""Comparisons and votes apart from the page."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from app.comparison import Comparison, Votes, picture_hash
from app.engine import Engine, Waiting
from app.models import LoadError, Loading, NoSuchModelError, Shelf
from app.pages.compare_batch import BatchHandlers, Row, _write_csv
from app.pages.compare_handlers import CompareHandlers
from app.pages.compare_html import Growing
from app.pages.words import Words
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, Finished, GenerationSettings
from llava_tuning.inference.questions import QuestionRow
from llava_tuning.models.pictures import PictureError


def answered(blind: bool) -> Comparison:
    comparison = Comparison.of(("a", "b"), blind)
    comparison.settings = GenerationSettings(temperature=0)
    image = Image.new("RGB", (4, 3), "red")
    for side in comparison.sides:
        side.messages = [
            ChatMessage("user", "What?", (image,)),
            ChatMessage("assistant", f"I am {side.model}"),
        ]
    comparison.answered = True
    return comparison


class Says:
    """A backend that answers in so many pieces."""

    sees, max_length, at_once = False, 100, 1

    def __init__(self, name: str) -> None:
        self.name = name

    def stream(self, messages, settings, cancel=None):
        for _ in range(5):
            yield "word "
        return Finished("stop")


def test_a_file_of_questions_sends_the_rows_that_change_and_not_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))  # nothing was uploaded yet
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"question": f"Number {number}?"}) + "\n" for number in range(50)))
    shelf = Shelf(Engine(Says("a")), remote={"b": lambda: Says("b")})
    handlers = BatchHandlers(CompareHandlers(shelf, Votes(tmp_path / "votes.jsonl")))
    request = SimpleNamespace(session_hash="one", headers={})
    begun, *rows, done = handlers.run({"path": str(file)}, None, "a", "b", 8, 0, request)
    assert all(sent.table["table"].count("Number ") == 50 for sent in (begun, done))
    assert "word word word word word" not in begun.table["table"]
    assert done.table["table"].count("<td>word word word word word</td>") == 100
    changed = [set(sent.table["rows"]) for sent in rows]
    assert max(map(len, changed)) == 2 and set().union(*changed) == set(map(str, range(50)))


def test_lots_decide_who_is_left_in_blind_comparisons_alone():
    assert {Comparison.of(("a", "b"), True).sides[0].model for _ in range(64)} == {"a", "b"}
    assert {Comparison.of(("a", "b"), False).sides[0].model for _ in range(8)} == {"a"}


@pytest.mark.parametrize("blind", [True, False])
def test_a_vote_says_who_answered_what(blind, tmp_path):
    comparison, votes = answered(blind), Votes(tmp_path / "kept" / "votes.jsonl")
    assert comparison.hidden is blind
    votes.add(comparison.vote("left"))
    assert not comparison.hidden
    (line,) = votes.path.read_text(encoding="utf-8").splitlines()
    vote = json.loads(line)
    for side in ("left", "right"):
        assert vote[side]["messages"][1]["content"] == f"I am {vote[side]['model']}"
    assert {vote["left"]["model"], vote["right"]["model"]} == {"a", "b"}
    assert (vote["vote"], vote["question"], vote["settings"]["temperature"]) == ("left", "What?", 0)
    assert vote["pictures"] == [picture_hash(Image.new("RGB", (4, 3), "red"))]
    assert vote["pictures"] != [picture_hash(Image.new("RGB", (3, 4), "red"))]


def test_nobody_votes_twice_or_before_there_are_answers():
    with pytest.raises(UserError, match="ask both models first"):
        Comparison.of(("a", "b"), False).vote("left")
    comparison = answered(False)
    comparison.vote("both_bad")
    with pytest.raises(UserError, match="ask both models first"):
        comparison.vote("left")


def test_a_vote_that_was_taken_back_can_be_given_again_and_tells_no_names():
    comparison = answered(True)
    comparison.vote("left")
    comparison.take_back_vote()
    assert comparison.hidden
    assert comparison.vote("right")["vote"] == "right" and not comparison.hidden


def test_a_vote_that_cannot_be_kept_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the vote cannot be kept: votes.jsonl .*--feedback"):
        Votes(tmp_path / "file" / "votes.jsonl").add({})


@pytest.mark.parametrize("piece", [Loading(), Waiting(2)])
def test_what_tells_models_apart_is_not_said_before_a_blind_vote(piece):
    words = Words("en")
    side = Comparison.of(("a", "b"), True).sides[0]
    Growing(side, [], words).take(piece, "A")
    assert side.note == ""
    Growing(side, [], words).take(piece, "")
    assert side.note


@pytest.mark.parametrize("error", [LoadError, NoSuchModelError])
def test_a_model_that_cannot_be_loaded_does_not_tell_its_name_before_a_blind_vote(error, capsys):
    side, other = Comparison.of(("momo", "lulu"), True).sides
    broken = error(f"/models/{side.model}/model.safetensors: cut off; choose one of {other.model}")
    growing = Growing(side, [], Words("en"))
    growing.take(broken, "A")
    (said,) = growing.drawn()
    assert "Model A cannot be loaded" in said["content"] and "without hidden names" in said["content"]
    assert not any(word in said["content"] for word in ("momo", "lulu", "safetensors"))
    assert f"{side.model}: /models/{side.model}/model.safetensors: cut off" in capsys.readouterr().err
    growing.take(broken, "")
    assert "cut off" in growing.drawn()[0]["content"]


def test_a_spreadsheet_computes_nothing_of_an_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    row = Row(QuestionRow("1", "", "=1+1"), ("-2", "@x"), ("", "+3"))
    with Path(_write_csv(("a", "b"), [row])).open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.reader(file))[1]
    assert written == ["1", "", "'=1+1", "'-2", "'@x", "", "'+3"]


def test_what_went_wrong_is_said_in_the_visitors_language():
    said = Words("zh").explain(PictureError("a.png: not a picture"))
    assert said != Words("en").explain(PictureError("a.png: not a picture")) and "图片" in said
