"""Password and key: what comes in, and that every address but /live asks."""

from __future__ import annotations

import base64
import re
import urllib.error
import urllib.request

import openai
import pytest
from gradio_client import Client

from app.protection import Credentials
from llava_tuning.errors import UserError

PASSWORD, KEY = "ada:päss:word", "sk-key"


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("shown", "password", "key", "both"),
    [
        (basic("ada:päss:word"), True, False, True),
        (basic("ada:wrong"), False, False, False),
        (basic("ada:"), False, False, False),
        (basic("anybody:sk-key"), False, True, True),
        ("Bearer sk-key", False, True, True),
        ("bearer sk-key", False, True, True),
        ("Bearer ada:päss:word", False, False, False),
        ("Bearer ", False, False, False),
        ("Basic !", False, False, False),
        ("Basic", False, False, False),
        ("", False, False, False),
    ],
)
def test_what_a_request_must_show(shown, password, key, both):
    assert Credentials(PASSWORD, None).admit(shown) is password
    assert Credentials(None, KEY).admit(shown) is key
    assert Credentials(PASSWORD, KEY).admit(shown) is both
    assert PASSWORD not in repr(Credentials(PASSWORD, KEY)) and KEY not in repr(Credentials(PASSWORD, KEY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLAVA_TUNING_AUTH", ""),
        ("LLAVA_TUNING_AUTH", "hunter2"),
        ("LLAVA_TUNING_AUTH", "ada:"),
        ("LLAVA_TUNING_AUTH", ":hunter2"),
        ("LLAVA_TUNING_API_KEY", ""),
        ("LLAVA_TUNING_API_KEY", "two words"),
    ],
)
def test_credentials_that_protect_nothing_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=rf"{name} is .*unset it") as problem:
        Credentials.from_environment()
    assert not value or value not in str(problem.value)


def test_without_credentials_everybody_may_come_in(monkeypatch):
    for name in ("LLAVA_TUNING_AUTH", "LLAVA_TUNING_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert not Credentials.from_environment()
    monkeypatch.setenv("LLAVA_TUNING_API_KEY", KEY)
    assert Credentials.from_environment()


def status(url: str, authorization: str = "", method: str = "GET") -> int:
    headers = {"Authorization": authorization} if authorization else {}
    try:
        return int(urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method)).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def protected(start_app, app):
    """A protected app; what answers behind it is the other app, so it starts in no time."""
    secrets = {"LLAVA_TUNING_AUTH": "ada:secret", "LLAVA_TUNING_API_KEY": "sk-key"}
    return start_app("--backend", "openai", "--base-url", f"{app.url}/v1", **secrets)


def test_every_address_but_live_asks(protected):
    page = urllib.request.Request(protected.url, headers={"Authorization": basic("ada:secret")})
    assets = re.findall(r'"\./([^"]+\.(?:js|css))"', urllib.request.urlopen(page).read().decode())
    own = ["", "health", "v1/models", "v1/chat/completions", "v1", "nothing", "live/x", "livex"]
    gradio = [
        "config",
        "gradio_api/info",
        "gradio_api/upload",
        "gradio_api/queue/join",
        "gradio_api/call/chat",
    ]
    more = [
        "gradio_api/file=/etc/passwd",
        "gradio_api/app_id",
        "login",
        "theme.css",
        "gradio_api/startup-events",
    ]
    assert assets
    for path in [*own, *gradio, *more, *assets]:
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            assert status(f"{protected.url}/{path}", method=method) == 401, (method, path)
    assert status(f"{protected.url}/live") == 200
    assert status(f"{protected.url}/", basic("ada:secret")) == 200
    assert status(f"{protected.url}/health", "Bearer sk-key") == 200
    assert status(f"{protected.url}/{assets[0]}", basic("anybody:sk-key")) == 200
    assert status(f"{protected.url}/", basic("ada:wrong")) == 401
    assert "secret" not in protected.output and "sk-key" not in protected.output


def test_openais_client_needs_the_key(protected):
    with openai.OpenAI(base_url=f"{protected.url}/v1", api_key="sk-key", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["default"]
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key") as refused:
            client.with_options(api_key="wrong").models.list()
    assert refused.value.code == "invalid_api_key"


def test_gradios_client_needs_either(protected):
    with pytest.raises(Exception, match="credentials were not provided"):
        Client(protected.url, verbose=False)
    for shown in (basic("ada:secret"), "Bearer sk-key"):
        client = Client(protected.url, verbose=False, headers={"Authorization": shown})
        answer = client.predict("What is the capital of France?", temperature=0, api_name="/chat")
        assert "Paris" in answer


@pytest.mark.browser
def test_a_browser_asks_for_the_password_and_the_page_works(protected, browser):
    context = browser.new_context(http_credentials={"username": "ada", "password": "secret"}, locale="en-US")
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(protected.url)
    page.click("#lt-ask-france")
    page.locator("#lt-chat .bot.message", has_text="Paris").wait_for()
    page.click("#lt-list .lt-fresh")
    page.click("#lt-ask-shape")
    page.locator("#lt-chat .user.message img").wait_for()
    context.close()
    stranger = browser.new_context(http_credentials={"username": "ada", "password": "guess"})
    assert stranger.new_page().goto(protected.url).status == 401
    stranger.close()


def test_answers_may_load_nothing_from_elsewhere(app):
    policy = urllib.request.urlopen(app.url).headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["img-src"] == "'self' data: blob:" and rules["connect-src"] == "'self' data: blob:"
