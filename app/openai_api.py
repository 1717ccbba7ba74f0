"""`/v1`: the models as OpenAI's API serves models, so that whatever speaks to those speaks to this one.

Form of requests and replies: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import traceback
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, suppress
from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.conversation import read_messages
from app.engine import Waiting
from app.models import LoadError, Shelf
from app.openai_errors import ApiError
from app.openai_request import ChatRequest, parse_request, read_body
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    BusyError,
    ChatMessage,
    Finished,
    GenerationSettings,
    MemoryFullError,
    RemoteError,
)
from llava_tuning.inference.context import check_messages

Answer = AsyncGenerator[str | Waiting | Finished, None]


def openai_api(shelf: Shelf) -> FastAPI:
    """An app of the routes below `/v1`; a model of the shelf is loaded when a request names it."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    started = int(time.time())

    def model(name: str) -> dict[str, Any]:
        own = shelf.own.backend
        entry = {"id": name, "object": "model", "created": started, "owned_by": "llava-tuning"}
        known = name == own.name and own.max_length  # of the others only when they are loaded
        if name == own.name:
            entry["default"] = True  # for this project's own clients, where no model is named
        return entry | ({"max_model_len": own.max_length} if known else {})

    @api.get("/models")
    def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model(name) for name in shelf.names()]}

    @api.get("/models/{name:path}")
    def retrieve_model(name: str) -> dict[str, Any]:
        _check_model(name, shelf)
        return model(name)

    @api.post("/chat/completions")
    async def chat_completions(request: Request) -> Response:
        given = parse_request(await read_body(request))
        await run_in_threadpool(_check_model, given.model, shelf)
        try:
            settings = given.settings()
        except UserError as error:
            raise ApiError(400, str(error)) from None
        try:
            messages = await run_in_threadpool(read_messages, given.messages, uploads=False)
            check_messages(messages, sees=True, name=given.model)  # before a model is loaded for it
        except UserError as error:
            raise _api_error(error) from None
        reply = _Reply(given, _answer(shelf, given.model, messages, settings, request))
        return await (reply.streamed() if given.stream else reply.whole())

    @api.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return error.response()

    @api.exception_handler(HTTPException)
    async def not_there(request: Request, error: HTTPException) -> Response:
        said = f"{request.method} {request.url.path}: {error.detail}; see /v1/chat/completions, /v1/models"
        return ApiError(error.status_code, said).response()

    return api


def _check_model(name: str, shelf: Shelf) -> None:
    known = shelf.names()
    if name not in known:
        served = ", ".join(map(repr, known))
        raise ApiError(
            404, f"The model {name!r} does not exist; this server has {served}", "model", "model_not_found"
        )


def _pieces(
    shelf: Shelf,
    name: str,
    messages: list[ChatMessage],
    settings: GenerationSettings,
    cancel: threading.Event,
) -> Generator[str | Waiting | Finished, None, None]:
    """What the model's engine yields; the model is loaded first if need be."""
    with shelf.use(name) as engine:
        check_messages(messages, sees=engine.backend.sees, name=name)
        yield from engine.stream(messages, settings, cancel)


async def _answer(
    shelf: Shelf, name: str, messages: list[ChatMessage], settings: GenerationSettings, request: Request
) -> Answer:
    """The answer in pieces; the model stops as soon as whoever asked has gone."""
    cancel = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        cancel.set()

    watching = asyncio.create_task(watch())
    pieces = _pieces(shelf, name, messages, settings, cancel)
    try:
        async for piece in iterate_in_threadpool(pieces):
            yield piece
    finally:
        cancel.set()
        watching.cancel()
        with suppress(ValueError):  # its thread still runs, and ends by `cancel`
            pieces.close()  # so that the model counts as idle from now on


class _Reply:
    """One chat completion, whole or as a stream of events."""

    def __init__(self, given: ChatRequest, answer: Answer) -> None:
        self._given = given
        self._answer = answer
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def whole(self) -> Response:
        """The answer in one piece."""
        text, finished = "", Finished("cancelled")
        try:
            async with aclosing(self._answer) as answer:
                async for piece in answer:
                    if isinstance(piece, str):
                        text += piece
                    elif isinstance(piece, Finished):
                        finished = piece
        except Exception as error:
            raise _api_error(error) from None
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finished.reason}
        return JSONResponse(self._object("chat.completion", [choice]) | {"usage": _usage(finished)})

    async def streamed(self) -> Response:
        """The answer as it is written. What fails before its first piece is an error, not a stream."""
        try:
            first = await anext(self._answer, None)
        except Exception as error:
            raise _api_error(error) from None
        return StreamingResponse(self._events(first), media_type="text/event-stream")

    async def _events(self, first: str | Waiting | Finished | None) -> AsyncIterator[str]:
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            async with aclosing(self._answer) as answer:
                piece = first
                while piece is not None:
                    if isinstance(piece, Waiting):
                        yield f": questions before this one: {piece.ahead}\n\n"
                    elif isinstance(piece, str):
                        yield self._chunk({"content": piece})
                    else:
                        yield self._chunk({}, piece.reason)
                        if self._given.include_usage:
                            yield _event(self._object("chat.completion.chunk", []) | {"usage": _usage(piece)})
                    piece = await anext(answer, None)
        except Exception as error:
            yield _event(_api_error(error).body())
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = self._object("chat.completion.chunk", [choice])
        return _event(chunk | ({"usage": None} if self._given.include_usage else {}))

    def _object(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._given.model,
            "choices": choices,
        }


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _usage(finished: Finished) -> dict[str, int] | None:
    """Tokens of prompt (pictures' too) and answer; None where the server behind does not say."""
    prompt, answer = finished.prompt_tokens, finished.answer_tokens
    if prompt is None or answer is None:
        return None
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, BusyError):
        return ApiError(429, str(error), code="queue_full")
    if isinstance(error, MemoryFullError):
        return ApiError(503, str(error), code="memory_full")
    if isinstance(error, LoadError):
        return ApiError(503, str(error), "model", "model_not_loaded")
    if isinstance(error, RemoteError):
        return ApiError(502, str(error), code="model_server_failed")
    if isinstance(error, UserError):
        return ApiError(400, str(error), "messages")
    traceback.print_exception(error)
    said = "The answer failed; the terminal that runs the server has the details"
    return ApiError(500, said, code="internal_error")
