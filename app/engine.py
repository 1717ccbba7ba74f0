"""One model, many visitors: questions are answered one at a time, in the order in which they came."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings

MAX_WAITING = 20  # questions in line before new ones are refused


@dataclass(frozen=True)
class Waiting:
    """Yielded while other visitors' questions come first; `ahead` is how many."""

    ahead: int


class _End:
    """Closes a job's stream of pieces."""


@dataclass(eq=False)
class _Job:
    messages: Sequence[ChatMessage]
    settings: GenerationSettings
    cancel: threading.Event
    pieces: queue.Queue[str | BaseException | _End] = field(default_factory=queue.Queue)


class Engine:
    """Runs a backend in one thread of its own, so that an abandoned web request can never hold the model."""

    def __init__(self, backend: ChatBackend) -> None:
        self.backend = backend
        self._jobs: list[_Job] = []  # the one being answered first, then those in line
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="model", daemon=True).start()

    def stream(
        self, messages: Sequence[ChatMessage], settings: GenerationSettings, cancel: threading.Event
    ) -> Iterator[str | Waiting]:
        """Yield `Waiting` for each change of place in line, then the answer's new pieces of text.

        Setting `cancel` ends it, also in line; so does closing the iterator.

        Raises:
            UserError: too many questions are in line, or what the backend raises.
        """
        job = _Job(messages, settings, cancel)
        with self._changed:
            if len(self._jobs) >= MAX_WAITING:
                raise UserError(f"{MAX_WAITING} questions are already in line; try again in a minute")
            self._jobs.append(job)
            self._changed.notify_all()
        try:
            yield from self._follow(job)
        except GeneratorExit:
            cancel.set()
            raise

    def _follow(self, job: _Job) -> Iterator[str | Waiting]:
        told = 0
        while True:
            try:
                piece = job.pieces.get(timeout=0.1)
            except queue.Empty:
                ahead = self._ahead(job)
                if ahead and job.cancel.is_set():
                    return  # the worker drops it when its turn comes
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
            return self._jobs.index(job) if job in self._jobs else 0

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._jobs))
                job = self._jobs[0]
            try:
                if not job.cancel.is_set():
                    for piece in self.backend.stream(job.messages, job.settings, job.cancel):
                        job.pieces.put(piece)
                        if job.cancel.is_set():
                            break
            except BaseException as error:
                job.pieces.put(error)
            finally:
                job.pieces.put(_End())
                with self._changed:
                    self._jobs.remove(job)
