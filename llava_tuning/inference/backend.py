"""What chat, batch, evaluation and the web app ask of a model, whoever runs it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from PIL import Image

from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from llava_tuning.inference.attention_map import PictureAttention


@dataclass(frozen=True)
class ChatMessage:
    """One turn of a chat. Its pictures (RGB) stand before its text; only the user's turns have any."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class GenerationSettings:
    """How an answer is written.

    Args:
        max_new_tokens: the longest answer, in tokens.
        temperature: 0 takes the likeliest token each time (greedy); up to 2.
        top_p: sample among the likeliest tokens that together have this probability, 0 to 1.
        repetition_penalty: above 1 makes tokens that the answer already has less likely; 1 is off.
        seed: makes a sampled answer repeatable; None draws anew each time.
        stop: texts that end the answer; what is from the first of them on is left out.

    Raises:
        UserError: a value is out of its range.
    """

    max_new_tokens: int = 512
    temperature: float = 0.1
    top_p: float = 0.75
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether a sampled answer is to be the same the next time."""
        return self.seed is not None and self.temperature > 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens is {self.max_new_tokens}; choose 1 or more")
        # Written so that NaN fails too.
        if not 0 <= self.temperature <= 2:
            raise UserError(f"temperature is {self.temperature}; choose 0 (always the likeliest word) to 2")
        if not 0 <= self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; choose 0 to 1")
        if not (self.repetition_penalty > 0 and math.isfinite(self.repetition_penalty)):
            raise UserError(
                f"repetition_penalty is {self.repetition_penalty}; choose a number above 0 (1 is off)"
            )
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise UserError(f"seed is {self.seed}; choose a whole number of at most 18 digits")
        if not all(self.stop):
            raise UserError("a stop text is empty; leave it out")
        if any("\ud800" <= letter <= "\udfff" for text in self.stop for letter in text):
            raise UserError("a stop text holds half a character (a lone surrogate); send whole Unicode")


GREEDY = GenerationSettings(temperature=0.0)


@dataclass(frozen=True)
class Finished:
    """How an answer ended and what it took, in tokens; None where a server does not say.

    `reason` is "length" where the answer was cut off, by `max_new_tokens` or the end of the context.
    """

    reason: Literal["stop", "length", "cancelled"]
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class BusyError(UserError):
    """The question may be asked again a little later, as it is."""


class NoGPUError(BusyError):
    """The platform lends no GPU now: none is free, or the visitor's time is used up."""


class BlindModelError(UserError):
    """A conversation with pictures was given to a model that takes none."""


class MemoryFullError(UserError):
    """The question with its answer does not fit into the GPU's memory, or the machine's."""


class RemoteError(UserError):
    """The server that runs the model failed, not the question. `replied`: it could be asked, and said so."""

    def __init__(self, message: str, replied: bool = False) -> None:
        super().__init__(message)
        self.replied = replied


class ChatBackend(Protocol):
    """A model that answers. Safe to call from several threads at once."""

    name: str
    """The model directory's name, or "default"; behind an address, the name that it has there."""
    sees: bool
    """Whether it accepts pictures."""
    max_length: int
    """Its context: prompt, pictures and answer together, in tokens; 0 where a server does not say."""
    at_once: int
    """How many answers are best written at the same time."""

    def stream(
        self,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
    ) -> Generator[str, None, Finished]:
        """Yield the answer to the last user turn in new, non-empty pieces of text; return how it ended.

        After `cancel` is set it ends at the next token (a prompt that is being read is read to its end);
        closing the iterator stops the model as well.

        Raises:
            UserError: pictures for a model without eyes, or a question longer than the context.
            MemoryFullError: it does not fit into the memory.
            RemoteError, BusyError: the server that runs the model cannot answer, or not now.
        """
        ...

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        """The answers to several conversations, stripped, in their order; one pass, so mind the memory.

        Raises:
            UserError: as for `stream`, or the batch does not fit into the GPU's memory.
        """
        ...

    def ready(self) -> bool:
        """Whether it can be asked now."""
        ...


@runtime_checkable
class AttentiveBackend(Protocol):
    """A backend in this process, which can tell what an answer attended to."""

    def picture_attention(self, messages: Sequence[ChatMessage], answer: str) -> list[PictureAttention]:
        """Attention of `answer` to the pictures of the conversation that it answered, in their order.

        Pictures that no longer fit into the context are not among them. It changes how the model computes
        while it runs: never call it while the same model writes an answer.

        Raises:
            UserError: as for `ChatBackend.stream`.
            MemoryFullError: it does not fit into the memory.
        """
        ...


def load_backend(
    model: str = "default",
    device: str = "auto",
    load_in: str = "auto",
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    template: str | None = None,
) -> ChatBackend:
    """Load a model directory (or the embedded default) to chat with.

    Args:
        model: a LLaVA or Llama model directory, or "default".
        device: "auto" (the first GPU, else the CPU), "cpu", "cuda" or "cuda:N".
        load_in: "auto" (what the free memory has room for), "4bit", "8bit", "bfloat16", "float16", "float32"
            or "int8".
        name: what it is called; None takes the directory's name.
        say: is told in one line what the weights are held in and why, before they are read.
        template: a chat template in Jinja instead of the model's own.

    Raises:
        UserError: no such directory, not a model directory, damaged or incomplete weights, no such device, a
            mode that it cannot load in, or too little memory.
    """
    from llava_tuning.models.default import resolve_model
    from llava_tuning.models.kind import check_model_directory

    directory = resolve_model(model)
    check_model_directory(directory)  # before torch is imported: a wrong path is told at once
    from llava_tuning.inference.transformers_backend import TransformersBackend

    name = name or ("default" if model == "default" else directory.resolve().name)
    return TransformersBackend.load(directory, name, device, load_in, say, template)
