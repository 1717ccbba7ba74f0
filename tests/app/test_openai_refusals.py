"""What `/v1` refuses, and that it says so in OpenAI's form: its own client against the running app."""

from __future__ import annotations

import base64
import http.client
import json

import openai
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.engine import Engine
from app.models import Shelf
from app.openai_api import openai_api
from app.openai_request import MAX_BODY
from llava_tuning.inference.backend import MemoryFullError
from llava_tuning.models.pictures import encode_picture

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
DOT = encode_picture(Image.new("RGB", (4, 4)))
GREEDY = {"model": "default", "temperature": 0}


def picture(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.fixture(scope="module")
def client(app):
    with openai.OpenAI(base_url=f"{app.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "'gpt-4o' does not exist; this server has 'default'"),
        ({"messages": []}, openai.BadRequestError, "end with a question"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            openai.BadRequestError,
            r"messages\[0\] has no role",
        ),
        ({"messages": [{"role": "user", "content": " "}]}, openai.BadRequestError, "the question is empty"),
        ({"messages": "hello"}, openai.BadRequestError, "messages: "),
        ({"temperature": 3}, openai.BadRequestError, "temperature is 3.0; choose 0"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens: .* greater than 0"),
        ({"n": 2}, openai.BadRequestError, "'n' is not supported"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "'tools' is not supported"),
        (
            {"messages": [{"role": "user", "content": "word " * 9000}]},
            openai.BadRequestError,
            "context is 8,192",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_answered_is_refused_with_its_remedy(client, change, kind, said, stream):
    with pytest.raises(kind, match=said):
        client.chat.completions.create(**{**GREEDY, "messages": FRANCE, "stream": stream} | change)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x.png",
        "https://example.com/x.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:text/plain,x",
    ],
)
def test_a_picture_is_taken_as_a_data_address_alone(client, url):
    content = [picture(url), {"type": "text", "text": "What is it?"}]
    with pytest.raises(
        openai.BadRequestError, match=r"messages\[0\]: .* data:image/...;base64 addresses only"
    ):
        client.chat.completions.create(messages=[{"role": "user", "content": content}], **GREEDY)


@pytest.mark.parametrize("part", [{"path": "/etc/passwd"}, {"type": "file", "file": {"path": "/etc/passwd"}}])
def test_no_file_can_be_named(client, part):
    with pytest.raises(openai.BadRequestError, match="is not supported; send text and image_url"):
        client.chat.completions.create(messages=[{"role": "user", "content": [part]}], **GREEDY)


def test_what_is_no_picture_is_told(client):
    content = [picture("data:image/png;base64," + base64.b64encode(b"text").decode())]
    with pytest.raises(openai.BadRequestError, match="not a picture in PNG"):
        client.chat.completions.create(messages=[{"role": "user", "content": content}], **GREEDY)


def send(app, body: bytes, headers: dict[str, str], path: str = "/v1/chat/completions") -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    connection.request("POST", path, body, headers)
    reply = connection.getresponse()
    answer = reply.status, json.load(reply)
    connection.close()
    return answer


def test_other_bodies_and_addresses_get_errors_in_openais_form(app):
    as_json = {"Content-Type": "application/json"}
    cases = [
        (b"{", as_json, "/v1/chat/completions", 400, "not valid JSON"),
        (b"[]", as_json, "/v1/chat/completions", 400, "not a JSON object"),
        (b"{}", as_json, "/v1/chat/completions", 400, "model: Field required"),
        (
            b"{}",
            {"Content-Type": "text/plain"},
            "/v1/chat/completions",
            415,
            "Content-Type: application/json",
        ),
        (
            b"{}",
            as_json | {"Content-Length": str(MAX_BODY + 1)},
            "/v1/chat/completions",
            413,
            "larger than 32 MiB",
        ),
        (b"{}", as_json, "/v1/embeddings", 404, "see /v1/chat/completions"),
        (b"{}", as_json, "/v1/models", 405, "Method Not Allowed"),
    ]
    for body, headers, path, status, said in cases:
        answered, reply = send(app, body, headers, path)
        assert answered == status and said in reply["error"]["message"], (answered, reply)
        assert reply["error"]["type"] == "invalid_request_error"


def test_a_body_without_a_stated_size_is_measured_too(app):
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    megabytes = (b" " * 2**20 for _ in range(40))
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    try:
        connection.request("POST", "/v1/chat/completions", megabytes, headers, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):  # refused before all was sent
        status = 413
    assert status == 413


def test_half_a_character_is_refused(app):
    body = b'{"model": "default", "messages": [{"role": "user", "content": "\\ud83d"}]}'
    status, reply = send(app, body, {"Content-Type": "application/json"})
    assert status == 400 and "half a character" in reply["error"]["message"]
    body = b'{"model": "default", "messages": [{"role": "user", "content": "x"}], "stop": "\\ud83d"}'
    status, reply = send(app, body, {"Content-Type": "application/json"})
    assert status == 400 and "a stop text holds half a character" in reply["error"]["message"]


def test_a_text_model_refuses_pictures(text_app):
    with openai.OpenAI(base_url=f"{text_app.url}/v1", api_key="none", max_retries=0) as client:
        model = client.models.list().data[0]
        with pytest.raises(openai.BadRequestError, match="is a text model and takes no pictures"):
            client.chat.completions.create(
                model=model.id, messages=[{"role": "user", "content": [picture(DOT)]}]
            )


def test_a_full_memory_is_the_servers_fault():
    class Full:
        name, sees, max_length, at_once = "full", False, 100, 1

        def stream(self, messages, settings, cancel=None):
            raise MemoryFullError("the GPU's memory is full; shorten the question")
            yield

    reply = TestClient(openai_api(Shelf(Engine(Full())))).post(
        "/chat/completions", json={"model": "full", "messages": FRANCE}
    )
    assert reply.status_code == 503 and reply.json()["error"]["code"] == "memory_full"
