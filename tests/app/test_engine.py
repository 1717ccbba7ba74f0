"""One model for many visitors: order, stopping, and errors that reach the one who asked."""

from __future__ import annotations

import threading
import time

import pytest

from app.engine import MAX_WAITING, Engine, Waiting
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, Finished, GenerationSettings

SETTINGS = GenerationSettings()


class Clockwork:
    """A backend whose words the test lets out one by one."""

    name, sees, max_length, at_once = "clockwork", False, 100, 1

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.asked: list[str] = []
        self.running = 0

    def stream(self, messages, settings, cancel=None):
        self.asked.append(messages[-1].text)
        if messages[-1].text == "fail":
            raise UserError("the question is too long; shorten it")
        self.running += 1
        try:
            for number in range(1000):
                while not self.go.acquire(timeout=0.02):
                    if cancel.is_set():
                        return
                yield f"{number} "
        finally:
            self.running -= 1

    def answer_batch(self, conversations, settings):
        raise NotImplementedError


def ask(engine: Engine, text: str):
    cancel = threading.Event()
    return engine.stream([ChatMessage("user", text)], SETTINGS, cancel), cancel


def eventually(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def engine() -> Engine:
    return Engine(Clockwork())


def test_words_come_as_they_are_written(engine):
    answer, _ = ask(engine, "one")
    engine.backend.go.release(2)
    assert [next(answer), next(answer)] == ["0 ", "1 "]


def test_the_second_waits_is_told_and_then_gets_its_turn(engine):
    first, stop_first = ask(engine, "first")
    engine.backend.go.release()
    next(first)
    second, _ = ask(engine, "second")
    assert next(second) == Waiting(1)
    stop_first.set()
    assert list(first) == []
    engine.backend.go.release()
    assert next(second) == "0 "
    assert engine.backend.asked == ["first", "second"]


def test_a_backend_that_answers_several_at_once_is_asked_so():
    class TwoHanded(Clockwork):
        at_once = 2

        def stream(self, messages, settings, cancel=None):
            yield messages[-1].text
            cancel.wait(10)

    engine = Engine(TwoHanded())
    (first, stop), (second, _), (third, _) = answers = [ask(engine, name) for name in ("1", "2", "3")]
    assert [next(first), next(second), next(third)] == ["1", "2", Waiting(1)]
    assert engine.questions() == 3
    stop.set()
    assert next(third) == "3"
    for _, cancel in answers:
        cancel.set()
    eventually(lambda: engine.questions() == 0)


def test_how_an_answer_ended_comes_last():
    class Brief(Clockwork):
        def stream(self, messages, settings, cancel=None):
            yield "word"
            return Finished("length", 3, 1)

    answer, _ = ask(Engine(Brief()), "one")
    assert list(answer) == ["word", Finished("length", 3, 1)]


def test_who_gives_up_in_line_costs_the_model_nothing(engine):
    first, stop_first = ask(engine, "first")
    engine.backend.go.release()
    next(first)
    second, stop_second = ask(engine, "second")
    next(second)
    stop_second.set()
    assert list(second) == []
    assert engine.questions() == 1  # nor a place in line
    stop_first.set()
    assert list(first) == []
    third, _ = ask(engine, "third")
    engine.backend.go.release()
    assert next(word for word in third if isinstance(word, str)) == "0 "
    assert engine.backend.asked == ["first", "third"]


def test_an_abandoned_answer_stops_the_model(engine):
    answer, _ = ask(engine, "one")
    engine.backend.go.release()
    next(answer)
    answer.close()
    eventually(lambda: engine.backend.running == 0)


def test_an_error_reaches_the_one_who_asked_and_nobody_else(engine):
    answer, _ = ask(engine, "fail")
    with pytest.raises(UserError, match="shorten it"):
        next(answer)
    answer, _ = ask(engine, "fine")
    engine.backend.go.release()
    assert next(answer) == "0 "


def test_a_full_line_refuses_with_a_remedy(engine):
    waiting = [ask(engine, str(number)) for number in range(MAX_WAITING)]
    engine.backend.go.release()
    for answer, _ in waiting:
        next(answer)
    refused, _ = ask(engine, "one too many")
    with pytest.raises(UserError, match="try again in a minute"):
        next(refused)
    for _, cancel in waiting:
        cancel.set()


def test_stopping_ends_answers_and_threads_and_those_in_line(engine):
    first, _ = ask(engine, "first")
    engine.backend.go.release()
    next(first)
    second, _ = ask(engine, "second")
    assert next(second) == Waiting(1)
    engine.stop()
    assert not any(thread.is_alive() for thread in engine._threads)
    assert list(first) == list(second) == [] and engine.backend.asked == ["first"]
