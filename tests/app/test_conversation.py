"""What the server remembers of its visitors."""

from __future__ import annotations

import pytest
from PIL import Image

from app import conversation
from app.conversation import Conversations, receive_picture
from app.strings import CHINESE, ENGLISH, PICTURE_QUESTIONS, TEXT_QUESTIONS, browser_language, translations
from llava_tuning.errors import UserError


def test_sessions_and_tabs_are_apart_and_leaving_stops_and_forgets():
    chats = Conversations()
    chat = chats.of("a", "text")
    assert chat is chats.of("a", "text")
    assert len({id(c) for c in (chat, chats.of("a", "picture"), chats.of("b", "text"))}) == 3
    cancel = chat.begin()
    chats.forget("a")
    assert cancel.is_set() and not chat.finish(cancel)
    assert chats.of("a", "text") is not chat


def test_the_oldest_conversation_goes_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(conversation, "MAX_CONVERSATIONS", 2)
    chats = Conversations()
    oldest = chats.of("a", "text")
    cancel = oldest.begin()
    chats.of("b", "text")
    chats.of("c", "text")
    assert cancel.is_set()
    assert chats.of("a", "text") is not oldest


def test_a_huge_picture_is_kept_small_and_a_bad_one_named_without_its_folder(tmp_path):
    Image.new("RGB", (3000, 1500)).save(tmp_path / "big.png")
    assert max(receive_picture(str(tmp_path / "big.png")).size) == conversation.MAX_SIDE
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError) as problem:
        receive_picture(str(tmp_path / "torn.jpg"))
    assert str(problem.value).startswith("torn.jpg: ")


def test_both_languages_say_everything_with_the_same_blanks():
    assert ENGLISH.keys() == CHINESE.keys()
    for key, text in ENGLISH.items():
        assert ("{" in text) == ("{" in CHINESE[key]), key


def test_questions_are_offered_in_a_language_that_the_model_knows():
    for key in TEXT_QUESTIONS + PICTURE_QUESTIONS:
        assert translations(model_speaks_chinese=False)["zh-CN"][key] == ENGLISH[key]
        assert translations(model_speaks_chinese=True)["zh-CN"][key] == CHINESE[key]


@pytest.mark.parametrize(
    ("header", "language"), [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,zh;q=0.5", "en"), (None, "en")]
)
def test_the_server_speaks_the_browsers_first_language(header, language):
    assert browser_language(header) == language
