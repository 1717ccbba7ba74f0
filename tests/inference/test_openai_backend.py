"""A model behind an address: the project's own server in another process, with the real model."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    GREEDY,
    ChatMessage,
    Finished,
    GenerationSettings,
    RemoteError,
)
from llava_tuning.inference.openai_backend import OpenAIBackend
from llava_tuning.inference.openai_client import Endpoint
from llava_tuning.models.pictures import open_picture

FRANCE = [ChatMessage("user", "What is the capital of France?")]
LONG = [ChatMessage("user", "Write a long story about a lighthouse keeper.")]
SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


def whole(stream) -> tuple[str, Finished]:
    """An answer and how it ended."""
    text = ""
    while True:
        try:
            text += next(stream)
        except StopIteration as end:
            return text, end.value


@pytest.fixture(scope="module")
def backend(app) -> OpenAIBackend:
    return OpenAIBackend.connect(Endpoint(app.url))


def test_the_only_model_is_found_with_what_it_can_do(backend) -> None:
    assert (backend.name, backend.sees, backend.max_length) == ("default", True, 8192)
    assert backend.ready()


def test_answers_come_in_pieces_and_say_how_they_ended(backend) -> None:
    assert len(list(backend.stream(FRANCE, GREEDY))) > 3
    answer, finished = whole(backend.stream(FRANCE, GREEDY))
    assert "Paris" in answer
    assert finished.reason == "stop" and finished.prompt_tokens > 5 and finished.answer_tokens > 3
    answer, finished = whole(backend.stream(LONG, replace(GREEDY, max_new_tokens=5)))
    assert (finished.reason, finished.answer_tokens) == ("length", 5)
    answer, finished = whole(backend.stream(FRANCE, replace(GREEDY, stop=(" of ",))))
    assert answer == "The capital" and finished.reason == "stop"


def test_pictures_arrive_and_a_batch_keeps_its_order(backend) -> None:
    def about(name: str, question: str) -> list[ChatMessage]:
        return [ChatMessage("user", question, (open_picture(SAMPLES / name),))]

    asked = [
        about("red_circle.png", "What shape is in the image?"),
        about("blue_triangle.png", "What shape is in the image?"),
        about("blue_triangle.png", "What color is the shape?"),
        FRANCE,
    ]
    *seen, told = backend.answer_batch(asked, GREEDY)
    assert [answer.lower() for answer in seen] == ["circle", "triangle", "blue"] and "Paris" in told


def test_settings_reach_the_server(backend) -> None:
    def draw(seed: int) -> str:
        return whole(backend.stream(LONG, GenerationSettings(12, 1.5, 1.0, seed=seed)))[0]

    assert draw(1) == draw(1) != draw(2)
    assert whole(backend.stream(FRANCE, GenerationSettings(12, 1.5, top_p=0)))[0].startswith("The capital")


@pytest.mark.parametrize("how", ["cancelled", "abandoned"])
def test_a_stopped_answer_stops_the_server(backend, app, how: str) -> None:
    cancel = threading.Event()
    stream = backend.stream(LONG, replace(GREEDY, max_new_tokens=4000), cancel)
    next(stream)
    app.wait_for_questions(1)
    if how == "cancelled":
        cancel.set()
        assert whole(stream)[1].reason == "cancelled"
    else:
        stream.close()
    app.wait_for_questions(0)


def test_a_bad_question_is_refused_before_it_is_sent(backend) -> None:
    with pytest.raises(UserError, match="end with a question"):
        backend.stream([], GREEDY)


def test_the_servers_refusal_is_said_in_its_words(backend) -> None:
    with pytest.raises(
        UserError, match=r"refuses the question \(400 .* context is 8,192; shorten it\)"
    ) as told:
        whole(backend.stream([ChatMessage("user", "word " * 9000)], GREEDY))
    assert not isinstance(told.value, RemoteError)


def test_a_model_that_is_not_there_and_one_without_eyes(app, text_app, text_model: Path) -> None:
    with pytest.raises(UserError, match=r"this server has 'default'; check --base-url and --model"):
        OpenAIBackend.connect(Endpoint(app.url), "gpt-4o")
    blind = OpenAIBackend.connect(Endpoint(text_app.url), text_model.name)
    assert not blind.sees
    with pytest.raises(UserError, match="is a text model and takes no pictures"):
        blind.stream([ChatMessage("user", "What?", (Image.new("RGB", (8, 8)),))], GREEDY)
    assert "Paris" in whole(blind.stream(FRANCE, GREEDY))[0]


def test_nobody_listens_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"{url}/v1: .*cannot be reached"):
            OpenAIBackend.connect(Endpoint(url))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        (" https://h/api/v1/chat/completions", "https://h/api/v1"),
    ],
)
def test_an_address_is_taken_in_any_of_the_usual_ways(url: str, kept: str) -> None:
    assert Endpoint(url).url == kept
    assert "sk-key" not in repr(Endpoint(url, "sk-key"))


@pytest.mark.parametrize(
    "url", ["", "h:8000", "ftp://h/v1", "http://user:pw@h/v1", "http://h/v1?key=x", "http://h:port/v1"]
)
def test_what_is_no_address_is_named_by_its_option(url: str) -> None:
    with pytest.raises(UserError, match="--base-url"):
        Endpoint(url)
