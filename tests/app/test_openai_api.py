"""`/v1` as programs use it: OpenAI's own client against the running app on the embedded model."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import urllib.request
from pathlib import Path

import openai
import pytest
from long_answers import LONG

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
AT_LENGTH = [{"role": "user", "content": LONG}]
GREEDY = {"model": "default", "temperature": 0}


def data_url(name: str) -> str:
    return "data:image/png;base64," + base64.b64encode((SAMPLES / name).read_bytes()).decode()


def picture(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


def look(name: str, question: str) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": question}, picture(data_url(name))]}


@pytest.fixture(scope="module")
def app(start_app, default_model, text_model, tmp_path_factory):
    """On the embedded model, beside another one and one whose weights were cut off."""
    models = tmp_path_factory.mktemp("models")
    (models / "words").symlink_to(text_model)
    (models / "torn").mkdir()
    for file in text_model.iterdir():
        if file.suffix == ".safetensors":
            (models / "torn" / file.name).write_bytes(file.open("rb").read(2**20))
        elif file.is_file():
            (models / "torn" / file.name).symlink_to(file)
    return start_app("--models", str(models))


@pytest.fixture(scope="module")
def client(app):
    with openai.OpenAI(base_url=f"{app.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_all_models_of_the_menu_are_named(client):
    assert [model.id for model in client.models.list()] == ["default", "torn", "words"]
    for name in ("default", "words"):
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


@pytest.mark.parametrize("stream", [False, True])
def test_another_model_answers_loaded_on_demand(client, stream):
    reply = client.chat.completions.create(
        model="words", messages=FRANCE, temperature=0, max_tokens=32, stream=stream
    )
    if stream:
        chunks = list(reply)
        assert {chunk.model for chunk in chunks} == {"words"}
        assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        assert "Paris" in reply.choices[0].message.content and reply.model == "words"
    with pytest.raises(openai.BadRequestError, match="words is a text model and takes no pictures"):
        seen = look("red_circle.png", "What is it?")
        client.chat.completions.create(model="words", messages=[seen], stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_not_there_or_damaged_is_refused_and_the_others_go_on(client, stream):
    with pytest.raises(openai.NotFoundError, match="this server has 'default', 'torn', 'words'") as refused:
        client.chat.completions.create(model="../words", messages=FRANCE, stream=stream)
    assert refused.value.code == "model_not_found" and refused.value.param == "model"
    with pytest.raises(openai.InternalServerError, match=r"torn/.*safetensors: not readable") as refused:
        client.chat.completions.create(model="torn", messages=FRANCE, stream=stream)
    assert refused.value.status_code == 503 and refused.value.code == "model_not_loaded"
    assert "Paris" in client.chat.completions.create(messages=FRANCE, **GREEDY).choices[0].message.content


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
    assert third.choices[0].message.content.lower() == "triangle"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_cut_off_says_so(client, name, stream):
    reply = client.chat.completions.create(messages=AT_LENGTH, stream=stream, **GREEDY, **{name: 5})
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
        reply = client.chat.completions.create(model="default", messages=AT_LENGTH, **options)
        return str(reply.choices[0].message.content)

    assert draw(1) == draw(1) != draw(2)


def test_a_system_message_and_parts_reach_the_model(client):
    parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France?"}]
    told = [{"role": "developer", "content": "Answer in one word."}, {"role": "user", "content": parts}]
    plain = client.chat.completions.create(messages=told[1:], **GREEDY)
    reply = client.chat.completions.create(messages=told, **GREEDY)
    assert "Paris" in reply.choices[0].message.content
    assert reply.usage.prompt_tokens > plain.usage.prompt_tokens


def test_special_tokens_that_are_typed_stay_text(client):
    typed = [{"role": "user", "content": "<|im_end|>"}]
    spelt = client.chat.completions.create(messages=typed, max_tokens=1, **GREEDY)
    one = [{"role": "user", "content": "a"}]
    plain = client.chat.completions.create(messages=one, max_tokens=1, **GREEDY)
    assert spelt.usage.prompt_tokens > plain.usage.prompt_tokens + 2  # several tokens, not one


def test_who_leaves_stops_the_model(client, app):
    stream = client.chat.completions.create(messages=AT_LENGTH, max_tokens=4000, stream=True, **GREEDY)
    next(stream)
    app.wait_for_questions(1)
    stream.close()
    app.wait_for_questions(0)
    # Also where the answer was to come whole.
    connection = http.client.HTTPConnection("127.0.0.1", app.port)
    body = json.dumps({**GREEDY, "messages": AT_LENGTH, "max_tokens": 4000})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    app.wait_for_questions(1)
    connection.close()
    app.wait_for_questions(0)
    assert "Paris" in client.chat.completions.create(messages=FRANCE, **GREEDY).choices[0].message.content


def test_a_full_line_answers_429_and_those_in_line_hear_that_they_wait(app, client):
    from app.engine import MAX_WAITING

    streams = []

    def ask() -> None:
        streams.append(
            client.chat.completions.create(messages=AT_LENGTH, max_tokens=4000, stream=True, **GREEDY)
        )

    threads = [threading.Thread(target=ask) for _ in range(MAX_WAITING)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # each has its status: those in line are told that they wait
        assert app.health()["questions"] == MAX_WAITING
        with pytest.raises(openai.RateLimitError, match="already in line") as refused:
            client.chat.completions.create(messages=FRANCE, **GREEDY)
        assert refused.value.response.headers["retry-after"]
    finally:
        for stream in streams:
            stream.close()
    app.wait_for_questions(0)


def test_whoever_watches_learns_what_is_loaded(app):
    assert json.load(urllib.request.urlopen(f"{app.url}/live")) == {"status": "ok"}
    health = json.load(urllib.request.urlopen(f"{app.url}/health"))
    assert health == {"model": "default", "sees": True, "ready": True, "questions": 0}
    for path in ("live", "health"):
        assert (
            urllib.request.urlopen(urllib.request.Request(f"{app.url}/{path}", method="HEAD")).status == 200
        )
