"""What a visitor reads when something goes wrong, and that nothing is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.answering import SAME, Asking, Updates, answer
from app.chats import Chat, Exchange, Question
from app.engine import MAX_WAITING, Engine
from app.feedback import Feedback
from app.handlers import Handlers
from app.models import LoadError, Shelf
from app.strings import explain
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    BlindModelError,
    BusyError,
    ChatMessage,
    Finished,
    GenerationSettings,
    MemoryFullError,
    RemoteError,
)
from llava_tuning.models.pictures import PictureError, PictureTooLargeError

BEFORE = Exchange(Question("Hello"), "Hi.")


class Raising:
    """A backend that fails after its first words, or gives none."""

    name, sees, max_length, at_once = "raising", True, 100, 1

    def __init__(self, words: Sequence[str], error: Exception | None = None) -> None:
        self.words, self.error = words, error
        self.asked: list[ChatMessage] = []

    def stream(self, messages, settings, cancel=None):
        self.asked = list(messages)
        yield from self.words
        if self.error:
            raise self.error
        return Finished("stop", 12, 3)


def ask(backend: Raising, language="en", chat: Chat | None = None, number: int = 1) -> tuple[Chat, Updates]:
    chat = chat or Chat(exchanges=(BEFORE,))
    asking = question_to(chat, number, language)
    return chat, list(answer(Shelf(Engine(backend)), asking))[-1]


def question_to(chat: Chat, number: int = 0, language="en", model: str = "raising") -> Asking:
    settings = GenerationSettings()
    return Asking(chat, number, model, Question("Why?"), "Be brief.", settings, language, to_box=True)


def test_an_answer_is_remembered_with_its_system_prompt():
    backend = Raising(["Because ", "of you."])
    chat, last = ask(backend)
    assert [exchange.answer for exchange in chat.exchanges] == ["Hi.", "Because of you."]
    assert [(m.role, m.text) for m in backend.asked] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "Why?"),
    ]
    assert last.kept["messages"][-1]["content"] == "Because of you."
    assert chat.exchanges[1].usage.answer_tokens == 3


def test_a_question_that_takes_an_earlier_ones_place_forgets_the_rest():
    chat = Chat(exchanges=(BEFORE, BEFORE, BEFORE))
    backend = Raising(["Now."])
    ask(backend, chat=chat, number=1)
    assert [exchange.answer for exchange in chat.exchanges] == ["Hi.", "Now."]
    assert len(backend.asked) == 4


@pytest.mark.parametrize(
    ("error", "english", "chinese"),
    [
        (MemoryFullError("full"), "The memory for the model is full; start a new conversation", "显存"),
        (
            RemoteError("the model's server cannot be reached; check that it runs"),
            "check that it runs",
            "没有回应",
        ),
        (BusyError("busy"), "Too many questions are in line; try again", "请一分钟后再试"),
        (UserError("the question takes 900 tokens; shorten it"), "shorten it", "出错了"),
        (KeyError("x"), "The answer failed (KeyError: 'x')", "详情请看"),
    ],
)
def test_what_went_wrong_is_said_and_the_question_returns_to_the_box(error, english, chinese):
    for language, said in (("en", english), ("zh", chinese)):
        chat, last = ask(Raising([], error), language)
        assert said in last.status.replace("&#x27;", "'") and 'role="alert"' in last.status
        assert chat.exchanges == (BEFORE,) and chat.cancel is None
        assert last.box["value"] == {"text": "Why?", "files": []}


def test_words_that_came_before_the_failure_stay():
    chat, last = ask(Raising(["Because "], MemoryFullError("full")))
    assert chat.exchanges[-1].answer == "Because" and "memory" in last.status


def test_an_answer_of_nothing_is_told():
    chat, last = ask(Raising([" "]))
    assert "nothing to say" in last.status and chat.exchanges == (BEFORE,)


def test_a_full_line_is_told():
    class Endless(Raising):
        def stream(self, messages, settings, cancel=None):
            yield "word"
            cancel.wait()

    engine = Engine(Endless([]))
    cancel = threading.Event()
    waiting = [
        engine.stream([ChatMessage("user", "x")], GenerationSettings(), cancel) for _ in range(MAX_WAITING)
    ]
    for one in waiting:
        next(one)
    last = list(answer(Shelf(engine), question_to(Chat())))[-1]
    assert "Too many questions are in line" in last.status
    cancel.set()


def test_while_an_answer_is_written_another_question_is_refused():
    chat = Chat()
    chat.begin(0)
    _, last = ask(Raising(["x"]), chat=chat, number=0)
    assert "wait for it or stop it" in last.status and chat.exchanges == ()


@pytest.mark.parametrize(
    ("error", "said"),
    [(PictureTooLargeError("9 pixels"), "图片太大"), (PictureError("torn"), "图片无法读取")],
)
def test_pictures_are_explained_in_chinese_too(error, said):
    assert explain(error, "zh").startswith(said) and str(error) in explain(error, "zh")
    assert explain(error, "en") == str(error)


def test_a_vote_during_an_answer_is_not_lost():
    chat = Chat(exchanges=(BEFORE,))
    updates = answer(Shelf(Engine(Raising(["Because."]))), question_to(chat, 1))
    next(updates)
    chat.vote(0, "up")
    list(updates)
    assert [exchange.vote for exchange in chat.exchanges] == ["up", None]


def test_a_model_is_told_to_be_loading_and_then_notes_its_name():
    """The embedded default stands on every shelf; here another backend takes its place."""
    shelf = Shelf(Engine(Raising(["No."])), load=lambda name: Raising(["Because ", "of me."]))
    chat = Chat(exchanges=(BEFORE,))
    updates = list(answer(shelf, question_to(chat, 1, model="default")))
    assert "Loading default" in updates[1].status and updates[-1].status == ""
    assert (chat.exchanges[1].answer, chat.exchanges[1].model) == ("Because of me.", "default")
    assert updates[-1].kept["messages"][-1]["model"] == "default"


def test_a_model_that_is_not_on_the_shelf_is_refused_in_words():
    chat = Chat()
    last = list(answer(Shelf(Engine(Raising(["x"]))), question_to(chat, model="../secret")))[-1]
    assert "there is no model" in last.status and chat.exchanges == ()
    assert last.box["value"]["text"] == "Why?"


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ([], RemoteError("the model's server cannot be reached"), "cannot be reached"),
        (["Half of "], MemoryFullError("full"), "memory"),
        ([" "], None, "nothing to say"),
    ],
)
def test_an_earlier_answer_stays_where_another_fails(words, error, said):
    earlier = Exchange(Question("Why?"), "Because.", vote="up", model="raising")
    chat = Chat(exchanges=(BEFORE, earlier, BEFORE))
    chat, last = ask(Raising(words, error), chat=chat, number=1)
    assert chat.exchanges == (BEFORE, earlier, BEFORE) and said in last.status
    assert [message["content"] for message in last.kept["messages"][1::2]] == ["Hi.", "Because.", "Hi."]
    assert "Because." in last.chatbot["value"][3]["content"]


@pytest.mark.parametrize(
    ("words", "stays"), [([], True), (["It ", "is"], True), (["It is red, as far ", "as I can see"], False)]
)
def test_an_earlier_answer_stays_where_another_is_stopped_in_its_first_words(words, stays):
    chat = Chat(exchanges=(BEFORE,))

    class Slow(Raising):
        def stream(self, messages, settings, cancel=None):
            yield from words
            chat.stop()
            return Finished("cancelled", 1, 0)

    _, last = ask(Slow([]), chat=chat, number=0)
    assert chat.exchanges[0].answer == (BEFORE.answer if stays else "".join(words))
    assert "Stopped." in last.status


def test_the_browser_keeps_an_earlier_answer_until_there_are_words_of_another():
    chat = Chat(exchanges=(BEFORE,))
    asked, growing, *_ = answer(Shelf(Engine(Raising(["Now", "."]))), question_to(chat, 0))
    assert asked.kept == SAME
    assert [message["content"] for message in growing.kept["messages"]] == ["Be brief.", "Why?", "Now"]
    assert growing.kept["messages"][-1]["unfinished"]


def test_another_conversation_leaves_an_earlier_answer_that_nothing_replaced():
    chat = Chat(exchanges=(BEFORE,))
    updates = answer(Shelf(Engine(Raising([]))), question_to(chat, 0))
    next(updates)
    chat.replace(Chat())
    assert [update.kept for update in updates] == [SAME]


def handlers_of(chat: Chat, tmp_path) -> tuple[Handlers, Any]:
    handlers = Handlers(Shelf(Engine(Raising(["x"]))), Feedback(tmp_path))
    handlers.chats._all["session"] = chat
    return handlers, SimpleNamespace(session_hash="session", headers={})


def test_a_vote_during_an_answer_leaves_the_browsers_copy_alone(tmp_path):
    """The question that is being answered is not among the exchanges, but the browser has it."""
    chat = Chat(exchanges=(BEFORE,))
    handlers, request = handlers_of(chat, tmp_path)
    thumb: Any = SimpleNamespace(index=1, liked=True)
    chat.begin(1)
    assert handlers.vote(request, thumb).kept == SAME
    assert chat.exchanges[0].vote == "up"
    chat.cancel = None
    assert handlers.vote(request, thumb).kept["messages"][-1]["vote"] == "up"


def test_an_answer_being_written_takes_no_vote_and_says_so(tmp_path):
    chat = Chat(exchanges=(BEFORE, BEFORE))
    handlers, request = handlers_of(chat, tmp_path)
    chat.begin(1)  # the second answer anew
    said = handlers.vote(request, cast(Any, SimpleNamespace(index=3, liked=True)))
    assert "once it is whole" in said.status and said.chatbot["feedback_value"] == [None]
    assert chat.exchanges == (BEFORE, BEFORE) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "english", "chinese"),
    [
        (LoadError("model.safetensors: cut off"), "This model cannot be loaded", "无法加载此模型"),
        (BlindModelError("remove the picture"), "This model reads text only", "此模型只能阅读文字"),
    ],
)
def test_a_model_that_does_not_answer_is_told_in_the_visitors_language(error, english, chinese):
    assert explain(error, "en").startswith(english) and str(error) in explain(error, "en")
    assert explain(error, "zh").startswith(chinese) and str(error) in explain(error, "zh")
