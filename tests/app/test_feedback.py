"""A thumb on the page becomes a record, and records become training data."""

from __future__ import annotations

import json

import pytest
from votes import votes, wait_for_votes

from app.chats import Chat, Exchange, Question
from app.feedback import Feedback, feedback_directory
from llava_tuning.data.check import check_file
from llava_tuning.data.convert import convert_file
from llava_tuning.data.load import load_records
from llava_tuning.errors import UserError


@pytest.mark.browser
def test_thumbs_on_the_page_become_training_records(open_chat, feedback_folder, tmp_path):
    chat = open_chat()
    before = len(votes(feedback_folder)) if (feedback_folder / "feedback.jsonl").exists() else 0
    chat.page.click("#lt-ask-shape")
    assert chat.answer() == "circle"
    chat.ask("What color is the shape?")
    assert chat.answer(2) == "red"
    held = []
    chat.page.route("**/queue/join*", lambda request: held.append(request))  # clicks faster than the network
    chat.press("Dislike", 0)
    chat.page.get_by_role("button", name="Disliked").wait_for()
    chat.press("Like", 0)  # a changed mind
    chat.page.get_by_role("button", name="Liked", exact=True).wait_for()
    chat.press("Dislike", 1)
    for _ in range(1200):
        if len(held) == 3:
            break
        chat.page.wait_for_timeout(50)
    assert len(held) == 3  # none is dropped
    for number, request in enumerate(held, before + 1):  # one by one, as a slow network brings them
        with chat.page.expect_response("**/queue/join*"):
            request.continue_()
        wait_for_votes(chat.page, feedback_folder, number)
    chat.wait_for_kept_votes("up", "down")
    chat.page.unroute("**/queue/join*")
    chat.page.reload()  # votes are kept with the conversation
    chat.page.get_by_role("button", name="Liked", exact=True).wait_for()
    chat.page.get_by_role("button", name="Disliked").wait_for()

    stored = votes(feedback_folder)[before:]
    assert [vote["vote"] for vote in stored] == ["down", "up", "down"]
    assert stored[0]["id"] == stored[1]["id"] != stored[2]["id"]
    assert {vote["model"] for vote in stored} == {"default"}
    (feedback_folder / "these.jsonl").write_text("".join(json.dumps(vote) + "\n" for vote in stored))
    assert convert_file(feedback_folder / "these.jsonl", tmp_path / "records.json").written == 1
    (record,) = load_records(tmp_path / "records.json")
    assert [turn.value for turn in record.conversations] == ["<image>\nWhat shape is in the image?", "circle"]
    assert check_file(tmp_path / "records.json", feedback_folder) == ([], 1)  # its picture is found


def test_votes_go_to_the_users_data_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert feedback_directory() == tmp_path / "llava-tuning" / "feedback"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert feedback_directory().parts[-4:] == (".local", "share", "llava-tuning", "feedback")


def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"votes cannot be written .*--feedback DIR"):
        Feedback(tmp_path / "file" / "votes").store(Chat(exchanges=(Exchange(Question("a"), "b"),)), 0, "m")
