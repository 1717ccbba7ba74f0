"""A teacher to ask: a real HTTP server that is as strict about requests as OpenAI's, and fails as told."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

_FIELDS = {"model", "messages", "temperature", "max_tokens"}


@dataclass
class Fault:
    """What the server does in place of answering."""

    status: int
    body: Any
    headers: dict[str, str]
    drop: bool


@dataclass
class FakeTeacher:
    """The server's address, what it was asked, and what it is to do."""

    url: str = ""
    name: str = "teacher-1"
    served: list[str] = field(default_factory=lambda: ["teacher-1"])
    key: str | None = None  # asked for, if given
    answer: Callable[[str], str] = lambda question: f"answer to: {question}"
    finish_reason: str = "stop"
    message: dict[str, Any] = field(default_factory=dict)  # put over the reply's message
    on_request: Callable[[], None] = lambda: None  # called before a request is answered
    requests: list[dict[str, Any]] = field(default_factory=list)  # the good ones, as parsed
    faults: deque[Fault] = field(default_factory=deque)  # one is used up by each request
    most_at_once: int = 0

    def fail(self, status: int = 500, body: Any = None, drop: bool = False, **headers: str) -> None:
        """Let the next request fail that is not told to yet. `retry_after` becomes Retry-After."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self.faults.append(Fault(status, body, named, drop))

    @property
    def asked(self) -> list[str]:
        """The questions' texts, in the order in which they came."""
        contents = [body["messages"][-1]["content"] for body in self.requests]
        return [text if isinstance(text, str) else text[-1]["text"] for text in contents]

    @property
    def pictures(self) -> list[str | None]:
        """The addresses of the questions' pictures."""
        contents = [body["messages"][-1]["content"] for body in self.requests]
        return [None if isinstance(text, str) else text[0]["image_url"]["url"] for text in contents]


def objection(body: Any) -> str | None:
    """What OpenAI's API would answer with status 400."""
    if not isinstance(body, dict):
        return "We could not parse the JSON body of your request."
    if unknown := set(body) - _FIELDS:
        return f"Unrecognized request argument supplied: {unknown}"
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return "'messages' is a required property"
    for message in body["messages"]:
        if set(message) != {"role", "content"} or message["role"] not in ("system", "user", "assistant"):
            return f"bad message: {message}"
        parts = message["content"]
        if isinstance(parts, str):
            continue
        for part in parts:
            text = part["type"] == "text" and set(part) == {"type", "text"}
            image = part["type"] == "image_url" and re.match(
                r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+=*$", part["image_url"]["url"]
            )
            if not (text or image) or message["role"] != "user":
                return f"bad part: {str(part)[:80]}"
    return None


def _handler(teacher: FakeTeacher) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()
    busy = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if self._allowed():
                self._send(200, {"data": [{"id": name, "object": "model"} for name in teacher.served]})

        def do_POST(self) -> None:
            nonlocal busy
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._allowed():
                return
            if self.path != "/v1/chat/completions":
                return self._send(404, {"error": {"message": f"Invalid URL ({self.path})", "code": None}})
            if said := objection(body):
                return self._send(400, {"error": {"message": said, "code": None}})
            if body["model"] != teacher.name:
                error = {"message": f"The model {body['model']} does not exist", "code": "model_not_found"}
                return self._send(404, {"error": error})
            with lock:
                busy += 1
                teacher.most_at_once = max(teacher.most_at_once, busy)
                teacher.requests.append(body)
                question = teacher.asked[-1]
                fault = teacher.faults.popleft() if teacher.faults else None
            teacher.on_request()
            message = {"role": "assistant", "content": teacher.answer(question), **teacher.message}
            with lock:
                busy -= 1
            if fault and fault.drop:
                self.close_connection = True
            elif fault:
                self._send(fault.status, fault.body, fault.headers)
            else:
                choice = {"index": 0, "message": message, "finish_reason": teacher.finish_reason}
                self._send(200, {"object": "chat.completion", "choices": [choice]})

        def _allowed(self) -> bool:
            given = self.headers.get("Authorization")
            if teacher.key is None or given == f"Bearer {teacher.key}":
                return True
            self._send(401, {"error": {"message": f"Incorrect API key provided: {given}", "code": None}})
            return False

        def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # whoever asked did not wait
                self.close_connection = True

    return Handler


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTeacher]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    fake = FakeTeacher()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.socket.close()


class FakeClock:
    """Sleeping takes no time; the seconds slept pass on this clock alone."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.time + seconds
        await asyncio.sleep(0)
        self.time = max(self.time, until)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name, colour in (("red.png", "red"), ("green.jpg", "green"), ("more/blue.webp", "blue")):
        Image.new("RGB", (20, 10), colour).save(folder / name)
    return folder
