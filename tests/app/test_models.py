"""A shelf of models: loaded when asked for, so many at a time, and what is said where one cannot be."""

from __future__ import annotations

import json
import os
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.engine import Engine
from app.models import LoadError, NoSuchModelError, Shelf
from app.server import Remote, other_models
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import BusyError, ChatMessage, Finished, GenerationSettings
from llava_tuning.inference.openai_backend import OpenAIBackend


class Echo:
    """A backend that answers with its name."""

    sees, max_length, at_once = False, 100, 1

    def __init__(self, name: str) -> None:
        self.name = name

    def stream(self, messages, settings, cancel=None):
        yield self.name
        return Finished("stop")


class Loader:
    """Counts what is loaded, and remembers whether it is still there."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.alive: weakref.WeakValueDictionary[str, Echo] = weakref.WeakValueDictionary()

    def __call__(self, model: str) -> Echo:
        name = Path(model).name
        self.loaded.append(name)
        if name == "broken":
            raise UserError("broken: damaged weights; copy the model directory again")
        if name == "huge":
            raise MemoryError
        self.alive[name] = backend = Echo(name)
        return backend


@pytest.fixture
def load() -> Loader:
    return Loader()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "broken", "huge"):
        make_model(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("{")
    return tmp_path


@pytest.fixture
def shelf(folder: Path, load: Loader) -> Shelf:
    return Shelf(Engine(Echo("own")), folder, most=2, load=load)


def answer(engine: Engine) -> str:
    pieces = engine.stream([ChatMessage("user", "?")], GenerationSettings(), threading.Event())
    return "".join(piece for piece in pieces if isinstance(piece, str))


def test_what_is_in_the_folder_is_found_as_it_comes(shelf, folder):
    assert shelf.names() == ["own", "default", "a", "b", "broken", "c", "huge"]
    (folder / "a").rename(folder / "trained")
    assert "trained" in shelf.names() and "a" not in shelf.names()
    (folder / "b").rename(folder / os.fsdecode(b"bad\xff"))  # not UTF-8
    assert shelf.names() == ["own", "default", "broken", "c", "huge", "trained"]


def make_model(directory: Path) -> None:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (directory / "model.safetensors").touch()
    (directory / "tokenizer.json").touch()


def test_a_directory_named_as_another_model_has_a_name_of_its_own(folder, load):
    for name in ("default", "own", "far"):
        make_model(folder / name)
    shelf = Shelf(Engine(Echo("own")), folder, remote={"far": lambda: Echo("remote")}, load=load)
    named = [f"{folder.name}/{name}" for name in ("default", "far", "own")]
    assert shelf.names() == ["own", "default", "far", "a", "b", "broken", "c", "huge", *named]
    for name in named:
        with shelf.use(name) as engine:
            assert answer(engine) == Path(name).name
        assert name in shelf.attentive()
    assert load.loaded == ["default", "far", "own"]


def test_the_apps_own_model_is_not_offered_twice(folder, load):
    make_model(folder / "own")
    shelf = Shelf(Engine(Echo("own")), folder, load=load, own_directory=folder / "." / "own")
    assert shelf.names() == ["own", "default", "a", "b", "broken", "c", "huge"]


def test_each_name_answers_with_its_own_model_loaded_once(shelf, load):
    for _ in range(2):
        for name in ("own", "a", "default"):
            with shelf.use(name) as engine:
                assert answer(engine) == name
    assert load.loaded == ["a", "default"]


def test_the_least_recently_used_idle_model_makes_room_and_leaves_the_memory(shelf, load):
    for name in ("a", "b", "a", "c"):
        with shelf.use(name) as engine:
            assert answer(engine) == name
        del engine
    assert sorted(load.alive) == ["a", "c"]
    assert shelf.is_loaded("a") and not shelf.is_loaded("b")
    with shelf.use("b") as engine:
        assert answer(engine) == "b"
    assert load.loaded == ["a", "b", "c", "b"]


def test_a_model_in_use_stays(shelf, load):
    with shelf.use("a") as first, shelf.use("b"):
        with pytest.raises(BusyError, match="--loaded-models"), shelf.use("c"):
            pass
        assert answer(first) == "a"
    with shelf.use("c") as engine:
        assert answer(engine) == "c"


def test_two_who_ask_for_a_model_at_once_load_it_once(folder):
    begun, go, loaded = threading.Event(), threading.Event(), []

    def load(model: str) -> Echo:
        loaded.append(model)
        begun.set()
        assert go.wait(10)
        return Echo("a")

    shelf, answers = Shelf(Engine(Echo("own")), folder, load=load), []

    def ask() -> None:
        with shelf.use("a") as engine:
            answers.append(answer(engine))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    assert begun.wait(10)
    assert not shelf.is_loaded("a")
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert answers == ["a", "a"] and len(loaded) == 1


@pytest.mark.parametrize(("name", "reason"), [("broken", "damaged weights"), ("huge", "--loaded-models")])
def test_a_load_that_fails_is_said_and_takes_no_room(shelf, load, name, reason):
    for _ in range(3):
        with pytest.raises(LoadError, match=reason), shelf.use(name):
            pass
    with shelf.use("a"), shelf.use("b") as engine:
        assert answer(engine) == "b"


@pytest.mark.parametrize("name", ["", "..", "../a", "/etc", "notes", "A"])
def test_names_come_from_the_shelf_alone(shelf, load, name):
    with pytest.raises(NoSuchModelError, match="choose one of own, default, a"), shelf.use(name):
        pass
    assert load.loaded == []


def test_a_model_behind_an_address_takes_no_room(folder, load):
    shelf = Shelf(Engine(Echo("own")), folder, most=2, remote={"far": lambda: Echo("far")}, load=load)
    with shelf.use("a"), shelf.use("b"), shelf.use("far") as engine:
        assert answer(engine) == "far"
    assert shelf.names()[:3] == ["own", "default", "far"]


@pytest.fixture
def server():
    """A server that lists two models, each of which answers with its name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"data": [{"id": "tuned"}, {"id": "base"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choice = {"message": {"role": "assistant", "content": asked["model"]}, "finish_reason": "stop"}
            if asked.get("stream"):
                choice = {"delta": {"content": asked["model"]}, "finish_reason": "stop"}
                self.send(
                    f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n", "text/event-stream"
                )
            else:
                self.reply({"choices": [choice]})

        def reply(self, body: dict[str, Any]) -> None:
            self.send(json.dumps(body), "application/json")

        def send(self, text: str, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}/v1"
    running.shutdown()


def test_all_models_of_a_server_behind_the_app_can_be_chosen(server):
    remote = Remote(server, "tuned")
    own = OpenAIBackend.connect(remote.endpoint(), remote.model)
    shelf = Shelf(Engine(own), remote=other_models(own, remote))
    assert shelf.names() == ["tuned", "default", "base"]
    for name in ("tuned", "base"):
        with shelf.use(name) as engine:
            assert answer(engine) == name
