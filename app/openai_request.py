"""A chat request in OpenAI's form: what of it is understood, and what is refused rather than ignored."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, PositiveInt, ValidationError
from starlette.requests import Request

from app.openai_errors import ApiError
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GenerationSettings

MAX_BODY = 32 * 2**20  # bytes; pictures of 20 MB take 27 as base64
# What would change the answer and is not done here, with the values that ask for nothing.
_NOT_DONE: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
}


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The fields that have an effect. `repetition_penalty` is not OpenAI's; other servers take it too."""

    model: str
    messages: list[Any]
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def settings(self) -> GenerationSettings:
        """How the answer is to be written; what is left out is as everywhere in this project.

        Raises:
            UserError: a value is out of its range.
        """
        length = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > 16:
            raise UserError(f"{len(stop)} stop texts are too many; give at most 16")
        given = {
            "max_new_tokens": length,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
        }
        named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return GenerationSettings(**named, stop=tuple(stop))


async def read_body(request: Request) -> bytes:
    """The request's body.

    Raises:
        ApiError: it is too large, or not JSON by its own account (a page elsewhere on the web can make a
            browser send anything else without asking this server first).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "The body must be JSON; send the header 'Content-Type: application/json'")
    too_large = ApiError(
        413, f"The body is larger than {MAX_BODY / 2**20:.0f} MiB; send smaller pictures", "messages"
    )
    if int(request.headers.get("content-length", "0")) > MAX_BODY:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise too_large
    return bytes(body)


def parse_request(body: bytes) -> ChatRequest:
    """The request that a body holds.

    Raises:
        ApiError: not JSON, a field of a wrong type, or one that asks for what is not done here.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not valid JSON; check quotes and brackets") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "The body is not a JSON object with model and messages")
    for name, harmless in _NOT_DONE.items():
        value = fields.get(name)
        if value is not None and value not in harmless:
            raise ApiError(400, f"{name!r} is not supported by this server; leave it out", name)
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(step) for step in first["loc"])
        raise ApiError(400, f"{param}: {first['msg']}", param) from None
