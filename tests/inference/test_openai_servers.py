"""A server that does what the test says: what it is sent, and each way in which it can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    GREEDY,
    BusyError,
    ChatMessage,
    Finished,
    GenerationSettings,
    RemoteError,
)
from llava_tuning.inference.openai_backend import OpenAIBackend
from llava_tuning.inference.openai_client import Endpoint
from llava_tuning.models.pictures import picture_from_data_url

FRANCE = [ChatMessage("user", "What is the capital of France?")]


def whole(stream) -> tuple[str, Finished]:
    """An answer and how it ended."""
    text = ""
    while True:
        try:
            text += next(stream)
        except StopIteration as end:
            return text, end.value


class Server:
    """Answers as the test says; `reply` is what follows the request for a completion."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] | None = [{"id": "m"}]
        self.status, self.reply = 200, b""
        self.hold = threading.Event()  # while it is not set, replies do not end
        self.hold.set()
        self.sees = True
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = threading.Event()  # whoever asked closed the connection while it was held


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if state.models is not None else 404, json.dumps({"data": state.models}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.keys.append(self.headers["Authorization"])
            if not state.sees and isinstance(body["messages"][-1]["content"], list):
                self.answer(500, b'{"error": {"message": "image input is not supported"}}')
            else:
                self.answer(state.status, state.reply)

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
            while not state.hold.is_set():
                try:
                    self.connection.settimeout(0.05)
                    if self.connection.recv(1) == b"":
                        state.gone.set()
                        return
                except TimeoutError:
                    pass

        def log_message(self, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{listening.server_address[1]}"
    yield state
    state.hold.set()
    listening.shutdown()
    listening.server_close()


def stream_of(*events: Any) -> bytes:
    lines = [event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in events]
    return "".join(f"data: {line}\r\n\r\n" for line in lines).encode()


def piece(text: str | None = None, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {} if text is None else {"content": text}, "finish_reason": reason}]}


def ask(server: Server, timeout_s: float = 30, key: str | None = None) -> tuple[str, Finished]:
    backend = OpenAIBackend(Endpoint(server.url, key), "m", timeout_s)
    return whole(backend.stream(FRANCE, GREEDY))


def test_what_is_sent_is_what_every_server_takes(server: Server) -> None:
    server.reply = stream_of(piece("a", "stop"))
    picture = Image.new("RGB", (3, 2), "red")
    backend = OpenAIBackend(Endpoint(server.url, "sk-key"), "m", 30)
    messages = [ChatMessage("system", "Be brief."), ChatMessage("user", "What?", (picture,))]
    whole(backend.stream(messages, GenerationSettings(7, 0.5, 0.9)))
    sent = server.requests[0]
    url = sent["messages"][1]["content"].pop(0)["image_url"]["url"]
    assert picture_from_data_url(url).tobytes() == picture.tobytes()
    assert sent == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}]},
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert server.keys == ["Bearer sk-key"]
    whole(backend.stream(FRANCE, GenerationSettings(7, 0.5, 0.9, 1.1, seed=3, stop=("x",))))
    assert {name: server.requests[1][name] for name in ("seed", "stop", "repetition_penalty")} == {
        "seed": 3,
        "stop": ["x"],
        "repetition_penalty": 1.1,
    }


def test_a_stream_is_read_as_the_protocol_says(server: Server) -> None:
    """Comments, chunks without text, separators of lines that are none here, and no token counts."""
    begin = {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    thought = {"choices": [{"delta": {"reasoning_content": "hm", "content": None}, "finish_reason": None}]}
    server.reply = b": wait\n\n" + stream_of(
        begin, thought, piece("a\u2028b\x85c"), piece(None, "length"), "[DONE]"
    )
    assert ask(server) == ("a\u2028b\x85c", Finished("length", None, None))
    server.reply = stream_of(
        piece("a"), piece("b", "stop"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    )
    assert ask(server) == ("ab", Finished("stop", 3, 2))
    server.reply = stream_of(piece("a", "stop") | {"error": None})
    assert ask(server) == ("a", Finished("stop", None, None))


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (
            401,
            {"error": {"message": "bad key sk-key"}},
            RemoteError,
            r"401 bad key \[key\]; set the environment variable OPENAI_API_KEY",
        ),
        (404, {"detail": "Not Found"}, RemoteError, "404 .*check --base-url and --model"),
        (400, {"error": {"message": "too long"}}, UserError, r"refuses the question \(400 too long\)"),
        (422, {"object": "error", "message": "top_p"}, UserError, r"refuses the question \(422 top_p\)"),
        (429, {"error": "slow down"}, BusyError, r"busy \(429 slow down\); try again"),
        (503, "overloaded", BusyError, "busy .503"),
        (500, "boom", RemoteError, r"server failed \(500 .*boom"),
    ],
)
def test_a_refusal_says_whose_turn_it_is(
    server: Server, status: int, body: Any, kind: type, said: str
) -> None:
    server.status, server.reply = status, json.dumps(body).encode()
    with pytest.raises(UserError, match=said) as failed:
        ask(server, key="sk-key")
    assert type(failed.value) is kind


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"", "broke off"),
        (stream_of(piece("a")), "broke off"),
        (b"<html>A page</html>", "broke off"),
        (json.dumps({"choices": [{"message": {"content": "a"}}]}).encode(), "broke off"),
        (b"data: {\n\n", "is not JSON"),
        (stream_of(piece("a"), {"error": {"message": "no memory"}}), "server failed .*no memory"),
    ],
)
def test_half_an_answer_is_told_from_a_whole_one(server: Server, reply: bytes, said: str) -> None:
    server.reply = reply
    with pytest.raises(RemoteError, match=said):
        ask(server)


def test_a_server_that_says_nothing_is_given_up(server: Server) -> None:
    server.reply = stream_of(piece("a"))
    server.hold.clear()
    with pytest.raises(RemoteError, match=r"no word from the model's server for 0\.2 s"):
        ask(server, timeout_s=0.2)


def test_a_server_that_still_reads_the_question_can_be_stopped(server: Server) -> None:
    server.hold.clear()
    cancel = threading.Event()
    stream = OpenAIBackend(Endpoint(server.url), "m", 60).stream(FRANCE, GREEDY, cancel)
    threading.Timer(0.2, cancel.set).start()
    assert whole(stream) == ("", Finished("cancelled"))
    assert server.gone.wait(10)


def test_connecting_chooses_the_model_and_tries_its_eyes(server: Server) -> None:
    server.reply = stream_of(piece("a", "length"))
    assert OpenAIBackend.connect(Endpoint(server.url)).sees
    server.sees = False
    blind = OpenAIBackend.connect(Endpoint(server.url))
    assert (blind.name, blind.sees, blind.max_length) == ("m", False, 0)
    server.models = [{"id": "m"}, {"id": "n", "max_model_len": 4096}]
    with pytest.raises(UserError, match=r"serves 2 models; name one with --model \(m, n\)"):
        OpenAIBackend.connect(Endpoint(server.url))
    assert OpenAIBackend.connect(Endpoint(server.url), "n").max_length == 4096
    server.models = None  # a server that lists none
    assert OpenAIBackend.connect(Endpoint(server.url), "m").name == "m"


def test_connecting_does_not_take_trouble_for_blindness(server: Server) -> None:
    server.reply = stream_of(piece("a", "length"))
    backend = OpenAIBackend.connect(Endpoint(server.url))
    assert backend.sees and backend.ready()
    server.status, server.reply = 429, b'{"error": "slow down"}'
    with pytest.raises(UserError, match="busy"):
        OpenAIBackend.connect(Endpoint(server.url))


def test_server_that_closes_connections_it_promised_to_keep_is_asked_on() -> None:
    """As llama.cpp's does: the second request on a connection meets its end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept
        asked = 0

        def do_GET(self) -> None:
            self.answer(json.dumps({"data": [{"id": "m"}]}).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            choice = {"delta": {"content": "Paris."}, "finish_reason": "stop"}
            self.answer(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\ndata: [DONE]\n\n")

        def answer(self, body: bytes) -> None:
            self.asked += 1
            if self.asked > 1:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        backend = OpenAIBackend.connect(Endpoint(f"http://127.0.0.1:{server.server_port}/v1"))
        answers = [whole(backend.stream(FRANCE, GREEDY))[0] for _ in range(3)]
        server.shutdown()
    assert answers == ["Paris."] * 3
