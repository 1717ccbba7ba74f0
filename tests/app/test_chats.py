"""What the server remembers of its visitors, and what a browser may bring back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from app import chats
from app.chats import Chat, Chats, Exchange, Question, Usage, chat_messages, restore_chat
from app.conversation import MAX_PICTURES
from app.feedback import Feedback
from app.handlers import Handlers
from app.transcript import kept_by_browser, markdown_of, messages_of, shown
from app.uploads import keep_picture
from llava_tuning.errors import UserError


@pytest.fixture
def chat(tmp_path, monkeypatch) -> Chat:
    """Two exchanges, the first about a picture."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    picture = keep_picture(Image.new("RGB", (40, 20), "red"))
    exchanges = (
        Exchange(Question("What is it?", (picture,)), "A *red* box.", Usage(60, 5, 0.2), "up"),
        Exchange(Question("Sure?"), "```\nyes", Usage(80, 1, 0.0)),
    )
    return Chat(system="Be brief.", exchanges=exchanges)


def test_sessions_are_apart_and_leaving_stops_and_forgets():
    visitors = Chats()
    chat = visitors.of("a")
    assert chat is visitors.of("a")
    assert visitors.of("b") is not chat and visitors.of("b").id != chat.id
    cancel = chat.begin(0)
    visitors.forget("a")
    assert cancel.is_set() and not chat.finish(cancel)
    assert visitors.of("a") is not chat


def test_the_oldest_conversation_goes_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(chats, "MAX_CHATS", 2)
    visitors = Chats()
    oldest = visitors.of("a")
    cancel = oldest.begin(0)
    visitors.of("b")
    visitors.of("c")
    assert cancel.is_set()
    assert visitors.of("a") is not oldest


def test_what_a_browser_keeps_comes_back_as_it_was(chat):
    kept = json.loads(json.dumps(kept_by_browser(chat)))
    (url,) = kept["pictures"].values()
    kept["messages"][1]["content"][0]["image_url"]["url"] = url
    back = restore_chat(kept["id"], kept["messages"])
    assert (back.id, back.system, back.title) == (chat.id, "Be brief.", "What is it?")
    assert [(e.answer, e.usage, e.vote) for e in back.exchanges] == [
        (e.answer, e.usage, e.vote) for e in chat.exchanges
    ]
    assert chat_messages(back.system, back.exchanges) == chat_messages(chat.system, chat.exchanges)
    assert back.exchanges[0].question.pictures[0].name == chat.exchanges[0].question.pictures[0].name


def test_a_picture_is_sent_to_the_browser_once(chat):
    assert len(kept_by_browser(chat)["pictures"]) == 1
    assert kept_by_browser(chat)["pictures"] == {}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "a"}],
        [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": {"path": "/etc/passwd"}}, {"role": "assistant", "content": "b"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x.png"}}]}],
        ["text"],
    ],
)
def test_what_is_no_conversation_is_refused(messages):
    with pytest.raises(UserError):
        restore_chat("abc", messages)


@pytest.mark.parametrize("name", ["", "../x", None, "a" * 65])
def test_a_name_is_no_path(name):
    with pytest.raises(UserError, match="damaged"):
        restore_chat(name, [])


def test_old_pictures_go_from_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    old = keep_picture(Image.new("RGB", (4, 4), "red")).path
    os.utime(old, (0, 0))
    new = keep_picture(Image.new("RGB", (4, 4), "blue")).path
    assert new.is_file() and not old.exists()


def test_each_conversation_of_a_page_has_a_higher_number_than_the_one_before():
    """Also one that took long to be restored, so that another was begun meanwhile."""
    late, page = Chat(), Chat()
    before = page.number
    page.replace(late)
    restored = page.number
    page.replace(Chat())
    assert before < restored < page.number
    assert kept_by_browser(page)["number"] == page.number


def test_a_long_title_is_cut():
    title = Chat(exchanges=(Exchange(Question("word " * 30), "x"),)).title
    assert len(title) <= chats.TITLE_LENGTH and title.endswith("word…")


def test_the_page_shows_two_messages_an_exchange_with_counts_outside_of_code(chat):
    messages = shown(chat.exchanges, "en")
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert '<p class="lt-usage">Tokens: 5 written, 60 read · 20 tokens/s</p>' in messages[1]["content"]
    assert "yes\n```\n\n<div" in messages[3]["content"]
    assert 'src="gradio_api/file=' in messages[0]["content"]


def test_markdown_has_the_pictures_inside_and_loads_none(chat):
    answer = Exchange(Question("And now?"), "![x](http://example.com/x.png)")
    chat.exchanges = (*chat.exchanges, answer)
    text = markdown_of(chat, "default", "en")
    assert text.startswith("# What is it?\n\n> Be brief.\n\n## You\n\n![](data:image/png;base64,")
    assert "![x]" not in text and "A *red* box." in text


def test_openai_messages_carry_counts_and_votes(chat):
    system, question, answer, *_ = messages_of(chat.system, chat.exchanges)
    assert system == {"role": "system", "content": "Be brief."}
    assert question["content"][1] == {"type": "text", "text": "What is it?"}
    usage = {"prompt_tokens": 60, "answer_tokens": 5, "seconds": 0.2}
    assert answer == {"role": "assistant", "content": "A *red* box.", "usage": usage, "vote": "up"}


def test_who_wrote_an_answer_is_noted_where_it_was_not_always_the_same(chat):
    first, second = chat.exchanges
    alike = [replace(first, model="a<b>$"), replace(second, model="a<b>$")]
    assert "a&lt;b" not in str(shown(alike, "en"))
    messages = shown([alike[0], replace(second, model="other")], "en")
    assert "<b>a&lt;b&gt;&#36;</b> · Tokens: 5" in messages[1]["content"]
    assert "<b>other</b>" in messages[3]["content"]
    chat.exchanges = (alike[0], second)
    text = markdown_of(chat, "default", "en")
    assert "## a<b>$\n\nA *red* box." in text and "## default\n\n```" in text


def test_where_it_looked_is_offered_from_the_first_picture_on_where_the_model_can_tell(chat):
    first, second = (replace(exchange, model="here") for exchange in chat.exchanges)
    before = Exchange(Question("Hello"), "Hi.", model="here")
    messages = shown([before, first, second, replace(second, model="there")], "en", {"here"})
    assert ["lt-look" in message["content"] for message in messages[1::2]] == [False, True, True, False]


def test_a_conversation_takes_no_more_pictures_than_can_be_opened_again(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    shelf: Any = None  # nobody is asked
    handlers = Handlers(shelf, Feedback(tmp_path))
    picture = keep_picture(Image.new("RGB", (4, 4)))
    full = Exchange(Question("Many?", (picture,) * MAX_PICTURES), "Yes.")
    handlers.chats.of("a").exchanges = (full,)
    request: Any = SimpleNamespace(session_hash="a", headers={})
    path = tmp_path / "one.png"
    Image.new("RGB", (4, 4)).save(path)
    (found,) = handlers.ask(request, {"text": "One more?", "files": [{"path": str(path)}]})
    assert "50 pictures at most" in found.status and handlers.chats.of("a").exchanges == (full,)


def test_only_the_last_answer_offers_to_be_retried(chat):
    cut = replace(chat.exchanges[1], unfinished=True)
    messages = shown([cut, cut], "en")
    assert "Not finished" in messages[1]["content"] and "Retry" not in messages[1]["content"]
    assert "Retry writes it anew" in messages[3]["content"]
    assert "Retry" not in str(shown([cut], "en", goes_on=True))


def test_another_windows_turns_do_not_interrupt_an_answer(chat, tmp_path):
    """A page sends back what another window made of its conversation; not into an answer or another one."""
    shelf: Any = SimpleNamespace(attentive=frozenset, names=list)
    handlers = Handlers(shelf, Feedback(tmp_path))
    mine = handlers.chats.of("a")
    mine.replace(Chat(id=chat.id, exchanges=chat.exchanges[:1]))
    request: Any = SimpleNamespace(session_hash="a", headers={})
    messages = messages_of("", chat.exchanges)

    def reopen(name: str) -> int:
        event: Any = SimpleNamespace(id=name, messages=messages, refresh=True)
        handlers.reopen(request, event)
        return len(mine.exchanges)

    cancel = mine.begin(1)
    assert reopen(chat.id) == 1 and not cancel.is_set()
    mine.finish(cancel)
    assert reopen("another") == 1
    assert reopen(chat.id) == 2
