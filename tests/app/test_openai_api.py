"""`/v1` as programs use it: OpenAI's own client against the running app on the embedded model."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import urllib.request
from pathlib import Path

import openai
import pytest

from app.openai_request import MAX_BODY

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
LONG = [{"role": "user", "content": "Write a long story about a lighthouse keeper."}]
GREEDY = {"model": "default", "temperature": 0}


def data_url(name: str) -> str:
    return "data:image/png;base64," + base64.b64encode((SAMPLES / name).read_bytes()).decode()


def picture(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


def look(name: str, question: str) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": question}, picture(data_url(name))]}


def questions(app) -> int:
    """How many the model is busy with."""
    return int(json.load(urllib.request.urlopen(f"{app.url}/health"))["questions"])


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def client(app):
    with openai.OpenAI(base_url=f"{app.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models_name_the_one_that_is_loaded(client):
    assert [model.id for model in client.models.list()] == ["default"]
    assert client.models.retrieve("default").id == "default"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_an_answer_comes_whole_with_its_token_counts(client):
    reply = client.chat.completions.create(messages=FRANCE, **GREEDY)
    assert "Paris" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop" and reply.model == "default"
    usage = reply.usage
    assert usage.prompt_tokens > 5 and 1 < usage.completion_tokens < 30
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_has_the_same_answer_and_counts(client):
    whole = client.chat.completions.create(messages=FRANCE, **GREEDY)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(messages=FRANCE, **GREEDY, **options))
    *answer, end, usage = chunks
    assert answer[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content for chunk in answer]
    assert "".join(pieces) == whole.choices[0].message.content and len(pieces) > 3
    assert end.choices[0].finish_reason == "stop"
    assert usage.choices == [] and usage.usage == whole.usage
    bare = list(client.chat.completions.create(messages=FRANCE, **GREEDY, stream=True))
    assert bare[-1].choices[0].finish_reason == "stop" and not any(chunk.usage for chunk in bare)


def test_pictures_of_a_conversation_are_seen(client):
    shape = look("red_circle.png", "What shape is in the image?")
    first = client.chat.completions.create(messages=[shape], **GREEDY)
    assert first.choices[0].message.content == "circle"
    said = {"role": "assistant", "content": "circle"}
    colour = {"role": "user", "content": "What color is the shape?"}
    second = client.chat.completions.create(messages=[shape, said, colour], **GREEDY)
    assert second.choices[0].message.content == "red"
    other = look("blue_triangle.png", "What shape is in the image?")
    third = client.chat.completions.create(messages=[other], **GREEDY)
    assert third.choices[0].message.content == "triangle"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_cut_off_says_so(client, name, stream):
    reply = client.chat.completions.create(messages=LONG, stream=stream, **GREEDY, **{name: 5})
    last = list(reply)[-1] if stream else reply
    assert last.choices[0].finish_reason == "length"
    if not stream:
        assert last.usage.completion_tokens == 5


@pytest.mark.parametrize("stop", ["capital", ["nowhere", " of "]])
def test_a_stop_text_ends_the_answer_before_it(client, stop):
    whole = client.chat.completions.create(messages=FRANCE, **GREEDY).choices[0].message.content
    end = stop if isinstance(stop, str) else stop[1]
    reply = client.chat.completions.create(messages=FRANCE, stop=stop, **GREEDY)
    assert end in whole and reply.choices[0].message.content == whole.partition(end)[0]
    assert reply.choices[0].finish_reason == "stop"


def test_a_seed_repeats_what_is_drawn(client):
    def draw(seed: int) -> str:
        options = {"temperature": 1.5, "top_p": 1, "max_tokens": 12, "seed": seed}
        reply = client.chat.completions.create(model="default", messages=LONG, **options)
        return str(reply.choices[0].message.content)

    assert draw(1) == draw(1) != draw(2)


def test_a_system_message_and_parts_reach_the_model(client):
    parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France?"}]
    told = [{"role": "developer", "content": "Answer in one word."}, {"role": "user", "content": parts}]
    plain = client.chat.completions.create(messages=told[1:], **GREEDY)
    reply = client.chat.completions.create(messages=told, **GREEDY)
    assert "Paris" in reply.choices[0].message.content
    assert reply.usage.prompt_tokens > plain.usage.prompt_tokens


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
        ({"max_tokens": 0}, openai.BadRequestError, "choose 1 or more"),
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


def test_special_tokens_that_are_typed_stay_text(client):
    typed = [{"role": "user", "content": "<|im_end|>"}]
    spelt = client.chat.completions.create(messages=typed, max_tokens=1, **GREEDY)
    one = [{"role": "user", "content": "a"}]
    plain = client.chat.completions.create(messages=one, max_tokens=1, **GREEDY)
    assert spelt.usage.prompt_tokens > plain.usage.prompt_tokens + 2  # several tokens, not one


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


def test_who_leaves_stops_the_model(client, app):
    stream = client.chat.completions.create(messages=LONG, max_tokens=4000, stream=True, **GREEDY)
    next(stream)
    wait_until(lambda: questions(app) == 1)
    stream.close()
    wait_until(lambda: questions(app) == 0)
    # Also where the answer was to come whole.
    connection = http.client.HTTPConnection("127.0.0.1", app.port)
    body = json.dumps({**GREEDY, "messages": LONG, "max_tokens": 4000})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    wait_until(lambda: questions(app) == 1)
    connection.close()
    wait_until(lambda: questions(app) == 0)
    assert "Paris" in client.chat.completions.create(messages=FRANCE, **GREEDY).choices[0].message.content


def test_a_full_line_answers_429_and_those_in_line_hear_that_they_wait(app, client):
    from app.engine import MAX_WAITING

    streams = []

    def ask() -> None:
        streams.append(client.chat.completions.create(messages=LONG, max_tokens=4000, stream=True, **GREEDY))

    threads = [threading.Thread(target=ask) for _ in range(MAX_WAITING)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # each has its status: those in line are told that they wait
        assert questions(app) == MAX_WAITING
        with pytest.raises(openai.RateLimitError, match="already in line") as refused:
            client.chat.completions.create(messages=FRANCE, **GREEDY)
        assert refused.value.response.headers["retry-after"]
    finally:
        for stream in streams:
            stream.close()
    wait_until(lambda: questions(app) == 0)


def test_a_text_model_refuses_pictures(text_app):
    with openai.OpenAI(base_url=f"{text_app.url}/v1", api_key="none", max_retries=0) as client:
        (model,) = client.models.list()
        with pytest.raises(openai.BadRequestError, match="is a text model and takes no pictures"):
            client.chat.completions.create(model=model.id, messages=[look("red_circle.png", "What is it?")])


def test_whoever_watches_learns_what_is_loaded(app):
    assert json.load(urllib.request.urlopen(f"{app.url}/live")) == {"status": "ok"}
    health = json.load(urllib.request.urlopen(f"{app.url}/health"))
    assert health == {"model": "default", "sees": True, "ready": True, "questions": 0}
