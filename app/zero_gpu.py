"""Hugging Face's ZeroGPU: a GPU that is lent for one answer at a time. Elsewhere none of this does anything.

The platform's package `spaces` pretends that there is a GPU while the model is loaded, and runs each function
under `spaces.GPU` in a process of its own that has one. Arguments and results are pickled on their way.
Source: https://huggingface.co/docs/hub/spaces-zerogpu and the package itself (Apache-2.0).
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    AttentiveBackend,
    ChatBackend,
    ChatMessage,
    Finished,
    GenerationSettings,
    NoGPUError,
)

if TYPE_CHECKING:
    from llava_tuning.inference.attention_map import PictureAttention

VARIABLE = "SPACES_ZERO_GPU"  # set by the platform


def is_here() -> bool:
    """Whether the app runs on ZeroGPU."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "t", "true")


def prepare() -> None:
    """Let `spaces` take its place before torch is imported, as it must."""
    if is_here():
        importlib.import_module("spaces")


def report() -> None:
    """Tell the platform that the model is loaded: what `launch` does, which this app does not call."""
    if is_here():
        importlib.import_module("spaces.zero").startup()


class LentBackend:
    """A `ChatBackend` whose answers are written on a GPU that is lent for each."""

    def __init__(self, backend: ChatBackend, gpu: Callable[[Any], Any]) -> None:
        self.name, self.sees = backend.name, backend.sees
        self.max_length, self.at_once = backend.max_length, backend.at_once

        def answer(
            messages: Sequence[ChatMessage], settings: GenerationSettings
        ) -> Iterator[str | Finished | UserError]:
            try:
                finished = yield from backend.stream(messages, settings)
                yield finished
            except UserError as error:  # raised, only its name would come back
                yield error

        def batch(
            conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
        ) -> list[str] | UserError:
            try:
                return backend.answer_batch(conversations, settings)
            except UserError as error:
                return error

        def attention(messages: Sequence[ChatMessage], written: str) -> list[PictureAttention] | UserError:
            assert isinstance(backend, AttentiveBackend)
            try:
                return backend.picture_attention(messages, written)
            except UserError as error:
                return error

        self._answer, self._batch, self._attention = gpu(answer), gpu(batch), gpu(attention)

    def stream(
        self,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
    ) -> Generator[str, None, Finished]:
        """See `ChatBackend.stream`.

        Raises:
            NoGPUError: no GPU is to be had, for example because the visitor's minutes of today are used up.
        """
        pieces = self._answer(list(messages), settings)
        try:
            while not (cancel is not None and cancel.is_set()):
                piece = _or_raise(lambda: next(pieces))
                if isinstance(piece, Finished):
                    return piece
                yield piece
            return Finished("cancelled")
        finally:
            pieces.close()  # the process with the GPU stops as well

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        """See `ChatBackend.answer_batch`; also raises what `stream` does."""
        answers: list[str] = _or_raise(lambda: self._batch([list(one) for one in conversations], settings))
        return answers

    def picture_attention(self, messages: Sequence[ChatMessage], answer: str) -> list[PictureAttention]:
        """See `AttentiveBackend.picture_attention`; also raises what `stream` does."""
        maps: list[PictureAttention] = _or_raise(lambda: self._attention(list(messages), answer))
        return maps

    def ready(self) -> bool:
        """See `ChatBackend.ready`."""
        return True


def lend(backend: ChatBackend) -> ChatBackend:
    """The backend, with `spaces.GPU` around what needs the GPU."""
    return LentBackend(backend, importlib.import_module("spaces").GPU)


def _or_raise(call: Callable[[], Any]) -> Any:
    result = _or_busy(call)
    if isinstance(result, UserError):
        raise result
    return result


def _or_busy(call: Callable[[], Any]) -> Any:
    import gradio as gr

    try:
        return call()
    except gr.Error as error:  # how the platform refuses
        raise NoGPUError(f"no GPU is to be had ({error.message}); try again later") from None
