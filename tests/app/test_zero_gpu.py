"""A GPU that is lent for each answer: with a stand-in that writes it in another process, as there."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import subprocess
import sys
import threading
from types import ModuleType, SimpleNamespace

import gradio as gr
import pytest

from app import zero_gpu
from app.engine import Engine
from app.strings import explain
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, Finished, GenerationSettings, NoGPUError
from llava_tuning.models.default import PARTS

QUESTION = [ChatMessage("user", "Hello")]
SETTINGS = GenerationSettings(max_new_tokens=8, temperature=0)


class Model:
    """Says which process wrote the answer."""

    name, sees, max_length, at_once = "momo", True, 512, 1

    def stream(self, messages, settings, cancel=None):
        if messages[-1].text == "raise":
            raise UserError("the question is longer than the context")
        yield str(os.getpid())
        for _ in range(settings.max_new_tokens):
            yield " more"
        return Finished("stop", 3, settings.max_new_tokens)

    def answer_batch(self, conversations, settings):
        return [str(os.getpid()) for _ in conversations]

    def picture_attention(self, messages, answer):
        return [answer]

    def ready(self):
        return True


def run(task, arguments, queue, stop):
    if not inspect.isgeneratorfunction(task):
        queue.put(task(*arguments))
        return
    pieces = task(*arguments)
    for piece in pieces:
        queue.put(piece)
        if stop.wait(0):
            queue.put("stopped")
            return
    queue.put(None)


class Platform:
    """`spaces.GPU`: a process for each call; what it yields or returns comes back pickled."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("fork")
        self.calls: list[str] = []
        self.stopped = 0

    def GPU(self, task):
        def start(*arguments):
            self.calls.append(task.__name__)
            queue, stop = self.context.Queue(1), self.context.Event()
            process = self.context.Process(target=run, args=(task, arguments, queue, stop), daemon=True)
            process.start()
            return queue, stop

        def call(*arguments):
            return start(*arguments)[0].get(timeout=20)

        def iterate(*arguments):
            queue, stop = start(*arguments)
            try:
                while (piece := queue.get(timeout=20)) is not None:
                    yield piece
            except GeneratorExit:
                stop.set()
                while (piece := queue.get(timeout=20)) not in ("stopped", None):
                    pass
                self.stopped += piece == "stopped"
                raise

        return iterate if inspect.isgeneratorfunction(task) else call


@pytest.fixture
def platform(monkeypatch):
    platform = Platform()
    monkeypatch.setenv(zero_gpu.VARIABLE, "true")
    module = ModuleType("spaces")
    module.GPU = platform.GPU
    zero = ModuleType("spaces.zero")
    zero.startup = lambda: platform.calls.append("startup")
    monkeypatch.setitem(sys.modules, "spaces", module)
    monkeypatch.setitem(sys.modules, "spaces.zero", zero)
    return platform


def test_an_answer_is_written_in_the_process_that_has_the_gpu(platform):
    backend = zero_gpu.lend(Model())
    pieces = backend.stream(QUESTION, SETTINGS)
    assert int(next(pieces)) != os.getpid()
    rest = []
    with pytest.raises(StopIteration) as end:
        while True:
            rest.append(next(pieces))
    assert rest == [" more"] * 8 and end.value.value == Finished("stop", 3, 8)
    assert int(backend.answer_batch([QUESTION], SETTINGS)[0]) != os.getpid()
    assert backend.picture_attention(QUESTION, "red") == ["red"]


def test_whoever_stops_or_leaves_gives_the_gpu_back(platform):
    backend = zero_gpu.lend(Model())
    long = GenerationSettings(max_new_tokens=100_000, temperature=0)
    cancel = threading.Event()
    pieces = backend.stream(QUESTION, long, cancel)
    next(pieces)
    cancel.set()
    with pytest.raises(StopIteration) as end:
        next(pieces)
    assert end.value.value == Finished("cancelled") and platform.stopped == 1
    pieces = backend.stream(QUESTION, long)
    next(pieces)
    pieces.close()
    assert platform.stopped == 2


def test_errors_come_back_with_their_words(platform):
    with pytest.raises(UserError, match="longer than the context"):
        next(zero_gpu.lend(Model()).stream([ChatMessage("user", "raise")], SETTINGS))


def test_a_gpu_that_is_refused_can_be_asked_for_later():
    def refuse(task):
        def call(*arguments):
            raise gr.Error("You have exceeded your GPU quota")
            yield

        return call

    with pytest.raises(
        NoGPUError, match=r"no GPU is to be had \(You have exceeded your GPU quota\)"
    ) as refused:
        next(zero_gpu.LentBackend(Model(), refuse).stream(QUESTION, SETTINGS))
    assert explain(refused.value, "en").startswith("No GPU is free") and "GPU" in explain(refused.value, "zh")
    assert "line" not in explain(refused.value, "en")


def test_the_platform_is_told_once_the_model_is_loaded(platform):
    zero_gpu.prepare()
    zero_gpu.report()
    assert platform.calls == ["startup"]


def test_the_visitor_whose_minutes_count_is_known_where_the_answer_is_written():
    """`spaces` reads the request from Gradio's context."""
    from gradio.context import LocalContext

    seen = []

    class Asked(Model):
        def stream(self, messages, settings, cancel=None):
            seen.append(LocalContext.request.get(None))
            yield "hello"
            return Finished("stop")

    visitor = SimpleNamespace(headers={"x-ip-token": "mine"})
    token = LocalContext.request.set(visitor)
    try:
        engine = Engine(Asked())
        list(engine.stream(QUESTION, SETTINGS, threading.Event()))
    finally:
        LocalContext.request.reset(token)
        engine.close()
    assert seen == [visitor]


def test_elsewhere_nothing_is_imported_or_wrapped():
    code = (
        "import sys; from app import zero_gpu; zero_gpu.prepare(); zero_gpu.report(); "
        "print(zero_gpu.is_here(), 'spaces' in sys.modules, 'gradio' in sys.modules)"
    )
    clean = {name: value for name, value in os.environ.items() if name != zero_gpu.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean, cwd=PARTS.parents[1]
    )
    assert done.stdout.split() == ["False", "False", "False"], done.stderr
