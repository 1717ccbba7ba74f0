"""The same app in front of another server: here itself, in another process, with the real model."""

from __future__ import annotations

import re
import sys
import threading
from functools import partial

import forked
import openai
import pytest
from long_answers import LONG

AT_LENGTH = [{"role": "user", "content": LONG}]
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def front(start_app, app):
    return start_app("--backend", "openai", "--base-url", f"{app.url}/v1")


def test_the_front_has_the_model_of_the_server_behind_it(front, app):
    assert "default answers: text and pictures" in front.output
    assert front.health() == {"model": "default", "sees": True, "ready": True, "questions": 0}
    answers = []
    for server in (app, front):
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            answers.append(client.chat.completions.create(model="default", messages=FRANCE, temperature=0))
    assert answers[0].choices[0].message == answers[1].choices[0].message
    assert answers[0].usage == answers[1].usage


def test_who_leaves_the_front_stops_the_model_behind_it(front, app):
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="default", messages=AT_LENGTH, temperature=0, max_tokens=4000, stream=True
        )
        next(stream)
        app.wait_for_questions(1)
        stream.close()
        app.wait_for_questions(0)
        front.wait_for_questions(0)


def test_several_are_answered_at_a_time(front, app):
    """The line is the server's own: the front passes several questions on."""
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        options = {"model": "default", "temperature": 0, "max_tokens": 120}
        asked = partial(client.chat.completions.create, messages=AT_LENGTH, **options)
        threads = [threading.Thread(target=asked) for _ in range(2)]
        for thread in threads:
            thread.start()
        app.wait_for_questions(2)
        for thread in threads:
            thread.join()
    app.wait_for_questions(0)


def test_a_text_model_behind_the_front_is_told_from_one_that_sees(start_app, text_app):
    front = start_app("--backend", "openai", "--base-url", f"{text_app.url}/v1")
    assert "answers: text only" in front.output
    assert front.health()["sees"] is False


def test_a_server_that_is_gone_is_told(start_app, text_model):
    behind = start_app("--model", str(text_model))
    front = start_app("--backend", "openai", "--base-url", behind.url)
    behind.process.terminate()
    behind.process.wait(20)
    assert (front.health()["status"], front.health()["ready"]) == (503, False)
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as failed:
            client.chat.completions.create(model=text_model.name, messages=FRANCE)
        assert failed.value.status_code == 502
        with pytest.raises(openai.InternalServerError, match="cannot be reached"):
            client.chat.completions.create(model=text_model.name, messages=FRANCE, stream=True)


@pytest.mark.browser
def test_the_page_answers_from_the_server_behind_it(front, browser):
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(front.url)
    page.click("#lt-ask-shape")
    page.locator("#lt-chat .bot.message", has_text="circle").wait_for()
    page.locator("#lt-chat .lt-usage").wait_for()
    assert page.locator(".lt-look").count() == 0  # the server behind does not tell where it looked
    context.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--backend", "openai"], "--backend openai needs an address; add --base-url"),
        (["--base-url", "http://127.0.0.1:1/v1"], "--base-url goes with --backend openai"),
        (["--backend", "openai", "--base-url", "127.0.0.1"], "--base-url is no address of a web server"),
        (
            ["--backend", "openai", "--base-url", "http://127.0.0.1:1"],
            "http://127.0.0.1:1/v1: .*cannot be reached",
        ),
    ],
)
def test_a_wrong_address_ends_the_start_with_a_remedy(options, said, free_port):
    commands = (["app"], ["llava_tuning", "web"])
    for command in commands:
        done = forked.run(
            [sys.executable, "-m", *command, *options, "--port", str(free_port)],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert re.search(said, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
