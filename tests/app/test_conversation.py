"""Conversations as programs send them, and what the page says."""

from __future__ import annotations

import pytest
from PIL import Image

from app import conversation
from app.conversation import read_messages, receive_picture
from app.strings import CHINESE, ENGLISH, PICTURE_QUESTIONS, TEXT_QUESTIONS, browser_language, translations
from llava_tuning.errors import UserError
from llava_tuning.models.pictures import encode_picture, picture_to_data_url


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
    for key in TEXT_QUESTIONS:
        assert translations(chats_in_chinese=False)["zh-CN"][key] == ENGLISH[key]
        assert translations(chats_in_chinese=True)["zh-CN"][key] == CHINESE[key]
    for key in PICTURE_QUESTIONS:
        assert translations(chats_in_chinese=False)["zh-CN"][key] == CHINESE[key]


@pytest.mark.parametrize(
    ("header", "language"), [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,zh;q=0.5", "en"), (None, "en")]
)
def test_the_server_speaks_the_browsers_first_language(header, language):
    assert browser_language(header) == language


def test_messages_are_read_in_each_form(tmp_path):
    Image.new("RGB", (3000, 20), "red").save(tmp_path / "red.png")
    file = {
        "path": str(tmp_path / "red.png"),
        "url": "http://127.0.0.1/x",
        "meta": {"_type": "gradio.FileData"},
    }
    url = picture_to_data_url(tmp_path / "red.png")
    about_it = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, "What?"]},
        {"role": "user", "content": ["What?", {"type": "image_url", "image_url": url}]},
        {"role": "user", "content": {"text": "What?", "files": [file]}},
        {"role": "user", "content": [{"type": "file", "file": file}, {"type": "text", "text": "What?"}]},
        {"role": "user", "content": ["What?", file]},
    ]
    for message in about_it:
        (read,) = read_messages([message], uploads=True)
        assert (read.role, read.text, len(read.images)) == ("user", "What?", 1)
        assert read.images[0].size == (conversation.MAX_SIDE, 9) and read.images[0].getpixel((0, 0)) == (
            255,
            0,
            0,
        )
    apart = [{"role": "user", "content": file}, {"role": "user", "content": "What?"}]
    (read,) = read_messages(apart, uploads=True)
    assert (read.text, len(read.images)) == ("What?", 1)
    rest = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": ["a", {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    assert [(m.role, m.text) for m in read_messages(rest, uploads=False)] == [
        ("system", "Be brief."),
        ("user", "a\nb"),
        ("assistant", ""),
        ("user", "c"),
        ("user", "d"),
    ]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("text", "has no role"),
        ({"role": "tool", "content": "x"}, "has no role"),
        ({"role": "user", "content": 5}, "neither text nor a list"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "'input_audio' is not supported"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "a picture has no url"),
        ({"role": "user", "content": [{"path": "x.png"}]}, "is not supported"),
        ({"role": "user", "content": {"files": [{"path": "x.png"}]}}, "is not supported"),
        ({"role": "user", "content": [{"type": "file", "file": {"path": "x.png"}}]}, "is not supported"),
    ],
)
def test_other_messages_are_named_by_their_place(message, said):
    with pytest.raises(UserError, match=rf"messages\[1\].*{said}"):
        read_messages([{"role": "user", "content": "fine"}, message], uploads=False)


def test_lists_within_lists_end_somewhere():
    content = "deep"
    for _ in range(10_000):
        content = [content]
    with pytest.raises(UserError, match=r"messages\[0\]: lists within lists"):
        read_messages([{"role": "user", "content": content}], uploads=False)


def test_a_conversation_has_so_many_pictures_and_no_more(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "dot.png")
    part = {"type": "image_url", "image_url": {"url": picture_to_data_url(tmp_path / "dot.png")}}
    most = [{"role": "user", "content": [part] * conversation.MAX_PICTURES}]
    assert len(read_messages(most, uploads=False)[0].images) == conversation.MAX_PICTURES
    with pytest.raises(UserError, match="more than 50 pictures; leave the oldest out"):
        read_messages([*most, {"role": "user", "content": [part]}], uploads=False)


def test_the_pictures_of_a_request_have_a_limit_together(monkeypatch):
    side = conversation.MAX_SIDE
    part = {"type": "image_url", "image_url": {"url": encode_picture(Image.new("RGB", (side, side)))}}
    monkeypatch.setattr(conversation, "MAX_PIXELS_SENT", 2 * side**2)
    (message,) = read_messages([{"role": "user", "content": [part] * 2}], uploads=False)
    assert len(message.images) == 2
    apart = [{"role": "user", "content": [part] * 2}, {"role": "user", "content": [part, "What?"]}]
    with pytest.raises(UserError, match=r"messages\[1\]: .*more than 3,612,672 pixels together; make them"):
        read_messages(apart, uploads=False)
