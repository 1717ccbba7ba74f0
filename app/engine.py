"""One model, many visitors: questions wait in line, and their turn comes in the order in which they came."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    AttentiveBackend,
    BusyError,
    ChatBackend,
    ChatMessage,
    Finished,
    GenerationSettings,
)

if TYPE_CHECKING:
    from llava_tuning.inference.attention_map import PictureAttention

CLOSE_S = 5  # how long an answer that nobody waits for may take to end
MAX_WAITING = 20  # questions in line before new ones are refused


@dataclass(frozen=True)
class Waiting:
    """Yielded while other visitors' questions come first; `ahead` is how many."""

    ahead: int


class Answered(Protocol):
    """A conversation; `cancel` is of the answer being written, None when there is none."""

    @property
    def cancel(self) -> threading.Event | None:
        """Setting it stops the answer."""


def wait_for_end(conversation: Answered, seconds: float = CLOSE_S) -> bool:
    """Whether no answer is being written; one that was stopped already is given the time to end."""
    end = time.monotonic() + seconds
    while (cancel := conversation.cancel) is not None and cancel.is_set() and time.monotonic() < end:
        time.sleep(0.02)
    return conversation.cancel is None


class _End:
    """Closes a job's stream of pieces."""


@dataclass(eq=False)
class _Job:
    work: Callable[[], Iterator[Any]]
    cancel: threading.Event
    context: contextvars.Context = field(default_factory=contextvars.copy_context)  # the asker's
    running: bool = False
    pieces: queue.Queue[Any] = field(default_factory=queue.Queue)


def _write(job: _Job) -> None:
    for piece in job.work():
        job.pieces.put(piece)
        if job.cancel.is_set():
            break


class Engine:
    """Runs a backend in threads of its own, so that an abandoned web request can never hold the model.

    It has as many threads as the backend writes answers at once.
    """

    def __init__(self, backend: ChatBackend) -> None:
        self.backend = backend
        self._jobs: list[_Job] = []  # in the order in which they came, those being answered too
        self._changed = threading.Condition()
        self._closed = False
        count = range(backend.at_once)
        self._threads = [threading.Thread(target=self._work, name="model", daemon=True) for _ in count]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End its threads once no question is left, so that nothing holds the model's memory any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_S)

    def stop(self) -> None:
        """End all answers and then its threads: one that still computed as Python ended would abort it."""
        with self._changed:
            for job in self._jobs:
                job.cancel.set()
        self.close()

    def questions(self) -> int:
        """How many are being answered or in line."""
        with self._changed:
            return len(self._jobs)

    def stream(
        self, messages: Sequence[ChatMessage], settings: GenerationSettings, cancel: threading.Event
    ) -> Iterator[str | Waiting | Finished]:
        """Yield `Waiting` for each change of place in line, the answer's new pieces of text, `Finished`.

        Setting `cancel` ends it, also in line, and then without `Finished`; so does closing the iterator.

        Raises:
            BusyError: too many questions are in line.
            UserError: what the backend raises.
        """
        return self._queued(lambda: self._answer(messages, settings, cancel), cancel)

    def picture_attention(
        self, messages: Sequence[ChatMessage], answer: str, cancel: threading.Event
    ) -> Iterator[Waiting | list[PictureAttention]]:
        """Yield `Waiting` as `stream` does, then what `AttentiveBackend.picture_attention` returns.

        Raises:
            UserError: the model does not run in this process, or what the backend raises.
            BusyError: too many questions are in line.
        """
        backend = self.backend
        if not isinstance(backend, AttentiveBackend):
            raise UserError(f"{self.backend.name} runs on another server, which does not tell its attention")
        return self._queued(lambda: iter([backend.picture_attention(messages, answer)]), cancel)

    def _queued(self, work: Callable[[], Iterator[Any]], cancel: threading.Event) -> Iterator[Any]:
        job = _Job(work, cancel)
        with self._changed:
            if len(self._jobs) >= MAX_WAITING:
                raise BusyError(f"{MAX_WAITING} questions are already in line; try again in a minute")
            self._jobs.append(job)
            self._changed.notify_all()
        try:
            yield from self._follow(job)
        except GeneratorExit:
            cancel.set()
            raise
        finally:  # who gave up in line takes nobody's place
            with self._changed:
                if not job.running and job in self._jobs:
                    self._jobs.remove(job)

    def _follow(self, job: _Job) -> Iterator[Any]:
        told = 0
        while True:
            try:
                piece = job.pieces.get(timeout=0.1)
            except queue.Empty:
                ahead = self._ahead(job)
                if ahead and job.cancel.is_set():
                    return
                if ahead and ahead != told:
                    told = ahead
                    yield Waiting(ahead)
                continue
            if isinstance(piece, _End):
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def _ahead(self, job: _Job) -> int:
        with self._changed:
            if job.running or job not in self._jobs:
                return 0
            return max(1, self._jobs.index(job) - self.backend.at_once + 1)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(not job.running for job in self._jobs))
                job = next((job for job in self._jobs if not job.running), None)
                if job is None:
                    return
                job.running = True
            try:
                if not job.cancel.is_set():
                    job.context.run(_write, job)
            except BaseException as error:
                job.pieces.put(error)
            finally:
                job.pieces.put(_End())
                with self._changed:
                    self._jobs.remove(job)

    def _answer(
        self, messages: Sequence[ChatMessage], settings: GenerationSettings, cancel: threading.Event
    ) -> Iterator[str | Finished]:
        finished = yield from self.backend.stream(messages, settings, cancel)
        if not cancel.is_set():
            yield finished
