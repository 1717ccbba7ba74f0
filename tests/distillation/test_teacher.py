"""What is sent to a teacher, and what is done about its troubles; pauses pass on the test's own clock."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from llava_tuning.distillation.pacing import Pace
from llava_tuning.distillation.replies import retry_after
from llava_tuning.distillation.teacher import Teacher, TeacherSettings, Unanswered
from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from tests.distillation.conftest import FakeClock, FakeTeacher

KEY = "sk-very-secret/0123456789"
LATER = "Sun, 06 Nov 1994 08:49:37 GMT"


def ask(
    teacher: FakeTeacher, clock: FakeClock, *prompts: str, per_minute: float | None = None, **options: Any
):
    """The replies to prompts, asked one after the other."""
    settings = TeacherSettings(**{"url": teacher.url, "model": teacher.name, "retries": 3, **options})

    async def go() -> list[str]:
        async with Teacher(settings, Pace(per_minute, clock), clock) as asked:
            await asked.choose_model()
            return [await asked.ask(prompt) for prompt in prompts or ("What?",)]

    return asyncio.run(go())


def test_a_request_has_what_was_set_and_nothing_else(teacher: FakeTeacher, clock: FakeClock) -> None:
    settings = TeacherSettings(teacher.url, teacher.name, temperature=0, max_tokens=5)
    url = "data:image/png;base64,AAAA"

    async def go() -> None:
        async with Teacher(settings, Pace(None, clock), clock) as asked:
            await asked.ask("What?", url, "Be brief.")

    asyncio.run(go())
    ask(teacher, clock, "Who?")
    picture = {"type": "image_url", "image_url": {"url": url}}
    assert teacher.requests == [
        {
            "model": "teacher-1",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [picture, {"type": "text", "text": "What?"}]},
            ],
            "temperature": 0,
            "max_tokens": 5,
        },
        {"model": "teacher-1", "messages": [{"role": "user", "content": "Who?"}]},
    ]


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_passing_trouble_is_waited_out_longer_each_time(
    teacher: FakeTeacher, clock: FakeClock, status: int
) -> None:
    for _ in range(3):
        teacher.fail(status, {"error": {"message": "busy"}})
    assert ask(teacher, clock) == ["answer to: What?"]
    assert len(teacher.requests) == 4
    assert len(clock.slept) == 3
    for attempt, seconds in enumerate(clock.slept):
        assert 2**attempt / 2 <= seconds <= 2**attempt


def test_when_tries_are_used_up_the_trouble_is_told(teacher: FakeTeacher, clock: FakeClock) -> None:
    for _ in range(4):
        teacher.fail(503, b"<html>overloaded\n\nplease wait</html>")
    with pytest.raises(Unanswered, match="503 <html>overloaded please wait</html>, tried 4 times"):
        ask(teacher, clock)
    assert len(teacher.requests) == 4


def test_the_pause_that_the_teacher_asks_for_is_kept(teacher: FakeTeacher, clock: FakeClock) -> None:
    teacher.fail(429, {}, retry_after="37")
    teacher.fail(503, {}, retry_after="2.5")
    assert ask(teacher, clock) == ["answer to: What?"]
    assert clock.slept == [37, 2.5]


def test_a_pause_of_hours_ends_the_run(teacher: FakeTeacher, clock: FakeClock) -> None:
    teacher.fail(429, {"error": {"message": "daily limit"}}, retry_after="86400")
    with pytest.raises(UserError, match="429 daily limit; it asks for a pause of 86,400 s"):
        ask(teacher, clock)
    assert clock.slept == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": LATER, "date": "Sun, 06 Nov 1994 08:49:07 GMT"}, 30),
        ({"retry-after": LATER}, 0),  # past
    ],
)
def test_pauses_by_seconds_and_by_date(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(httpx.Headers(headers)) == seconds


def test_repeated_requests_keep_the_rate_too(teacher: FakeTeacher, clock: FakeClock) -> None:
    times: list[float] = []
    teacher.on_request = lambda: times.append(clock.now())
    teacher.fail(500)
    ask(teacher, clock, "a", "b", "c", per_minute=6)
    assert times == [0, 10, 20, 30]
    assert teacher.asked == ["a", "a", "b", "c"]


def test_a_dropped_connection_and_a_silent_teacher_are_tried_again(
    teacher: FakeTeacher, clock: FakeClock
) -> None:
    teacher.fail(drop=True)
    assert ask(teacher, clock, "a") == ["answer to: a"]
    released, silent = threading.Event(), [True]

    def be_silent_once() -> None:
        if silent:
            silent.clear()
            released.wait(60)

    teacher.on_request = be_silent_once
    try:
        assert ask(teacher, clock, "b", timeout_s=2) == ["answer to: b"]
    finally:
        released.set()
    assert teacher.asked == ["a", "a", "b", "b"]
    teacher.on_request = lambda: None
    for _ in range(4):
        teacher.fail(drop=True)
    with pytest.raises(Unanswered, match=r"the connection broke .*tried 4 times"):
        ask(teacher, clock)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (401, {"message": "Incorrect API key"}, "401 Incorrect API key; set the environment variable MY_KEY"),
        (402, {"message": "Insufficient Balance"}, "402 Insufficient Balance; pay"),
        (404, {"message": "no model"}, "404 no model; check --teacher-url and --teacher-model"),
        (429, {"message": "You exceeded", "code": "insufficient_quota"}, "raise the account's limit"),
    ],
)
def test_what_holds_for_all_questions_ends_the_run(
    teacher: FakeTeacher, clock: FakeClock, status: int, error: dict[str, str], said: str
) -> None:
    teacher.fail(status, {"error": error})
    with pytest.raises(UserError, match=said):
        ask(teacher, clock, key_name="MY_KEY")
    assert len(teacher.requests) == 1


@pytest.mark.parametrize(
    "body", [{"error": {"message": "too long"}}, {"error": "too long"}, {"detail": "too long"}, b"too long"]
)
def test_what_holds_for_one_question_is_told_in_the_servers_words(
    teacher: FakeTeacher, clock: FakeClock, body: Any
) -> None:
    teacher.fail(400, body)
    with pytest.raises(Unanswered, match=r"400 .*too long"):
        ask(teacher, clock)
    assert len(teacher.requests) == 1 and clock.slept == []


@pytest.mark.parametrize(
    ("body", "said", "reply"),
    [
        (b"<html>a web page</html>", "not JSON", "<html>a web page</html>"),
        (b"[1]", "not JSON", "[1]"),
        (b"[" * 100_000, "not JSON", "[" * 100_000),
        ({"choices": []}, "not a chat completion", "{'choices': []}"),
        ({"choices": [{"message": None}]}, "not a chat completion", "{'choices': [{'message': None}]}"),
    ],
)
def test_a_reply_that_is_none_is_told_with_its_words(
    teacher: FakeTeacher, clock: FakeClock, body: Any, said: str, reply: str
) -> None:
    teacher.fail(200, body)
    with pytest.raises(Unanswered, match=said) as caught:
        ask(teacher, clock)
    assert caught.value.reply == reply


@pytest.mark.parametrize(
    ("reason", "message", "said", "reply"),
    [
        ("length", {"content": "It is a"}, "cut off at its longest length; raise --max-tokens", "It is a"),
        ("content_filter", {"content": None}, "refused to answer$", None),
        ("stop", {"content": None, "refusal": "I can't."}, r"refused to answer \(I can't\.\)", None),
        ("stop", {"content": " \n"}, "the reply is empty", None),
        ("stop", {"content": None}, "the reply is empty", None),
    ],
)
def test_half_and_refused_answers_are_none(
    teacher: FakeTeacher,
    clock: FakeClock,
    reason: str,
    message: dict[str, Any],
    said: str,
    reply: str | None,
) -> None:
    teacher.finish_reason, teacher.message = reason, message
    with pytest.raises(Unanswered, match=said) as caught:
        ask(teacher, clock)
    assert caught.value.reply == reply


def test_a_wrong_address_fails_at_once(teacher: FakeTeacher, clock: FakeClock) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"cannot be reached .*; check --teacher-url"):
            ask(teacher, clock, url=url)
    assert clock.slept == []


def test_a_teacher_that_goes_away_is_tried_again_and_then_ends_the_run(
    teacher: FakeTeacher, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = httpx.AsyncClient.request, 0

    async def gone_after_the_first(client: httpx.AsyncClient, *arguments: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == 1:
            return await send(client, *arguments, **options)
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx.AsyncClient, "request", gone_after_the_first)
    with pytest.raises(UserError, match=r"cannot be reached \(refused\)"):
        ask(teacher, clock, "a", "b")
    assert sent == 5 and len(clock.slept) == 3


def test_the_only_model_is_taken_and_several_are_listed(teacher: FakeTeacher, clock: FakeClock) -> None:
    ask(teacher, clock, model=None)
    assert teacher.requests[0]["model"] == "teacher-1"
    teacher.served = ["a", "b"]
    with pytest.raises(UserError, match=r"serves 2 models; name one with --teacher-model \(a, b\)"):
        ask(teacher, clock, model=None)
    with pytest.raises(UserError, match="404 The model other does not exist"):
        ask(teacher, clock, model="other")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        (" https://api.openai.com/v1/ ", "https://api.openai.com/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("https://host/compatible-mode/v1", "https://host/compatible-mode/v1"),
    ],
)
def test_the_usual_ways_to_write_an_address(given: str, used: str) -> None:
    assert TeacherSettings(given).url == used


@pytest.mark.parametrize(
    "options",
    [
        {"url": "127.0.0.1:8000"},
        {"url": "file:///etc/passwd"},
        {"url": "http://"},
        {"url": f"http://user:{KEY}@host/v1"},
        {"url": f"http://host/v1?key={KEY}"},
        {"url": f"user:{KEY}@host"},
        {"key": f"{KEY}\nX-Other: 1"},
        {"key": f"{KEY}é"},
        {"temperature": 2.5},
        {"timeout_s": 0},
    ],
)
def test_settings_that_cannot_work_are_told_without_the_key(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        TeacherSettings(**{"url": "http://host", **options})
    assert KEY not in str(caught.value)


def test_the_key_is_sent_and_shown_nowhere(
    teacher: FakeTeacher, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    teacher.key = KEY
    assert ask(teacher, clock, key=KEY) == ["answer to: What?"]
    with pytest.raises(UserError, match="Incorrect API key provided: None"):
        ask(teacher, clock)
    wrong = KEY[::-1]
    with pytest.raises(UserError, match=r"provided: Bearer \[key\]"):
        ask(teacher, clock, key=wrong)
    teacher.fail(400, {"error": {"message": f"echo {KEY}"}})
    teacher.fail(200, f"echo {KEY}".encode())
    for _ in range(2):
        with pytest.raises(Unanswered) as caught:
            ask(teacher, clock, key=KEY)
        assert KEY not in f"{caught.value} {caught.value.reply}"
    teacher.answer = lambda question: f"Your headers hold {KEY}."
    assert ask(teacher, clock, key=KEY) == ["Your headers hold [key]."]
    assert KEY not in repr(TeacherSettings(teacher.url, key=KEY))
    assert KEY not in caplog.text and wrong not in caplog.text
