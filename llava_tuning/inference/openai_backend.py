"""Answer with a model behind an OpenAI-compatible address: vLLM, LMDeploy, SGLang, llama.cpp, our own app.

Requests run in an event loop of their own thread, so that stopping an answer closes its connection at once,
also while the server is still reading the question; that is how servers learn to stop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal

import httpx
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    GREEDY,
    BusyError,
    ChatMessage,
    Finished,
    GenerationSettings,
    RemoteError,
)
from llava_tuning.inference.context import check_messages
from llava_tuning.inference.openai_client import (
    Endpoint,
    error_of,
    events,
    model_rows,
    model_to_ask,
    user_content,
)
from llava_tuning.models.pictures import encode_picture

_POLL_S = 0.05  # how soon a cancelled answer ends
_HELLO = (ChatMessage("user", "Hello"),)
_LOOK = (ChatMessage("user", "Hello", (Image.new("RGB", (64, 64), "white"),)),)


class OpenAIBackend:
    """A `ChatBackend` that asks a server, with up to `at_once` questions at a time."""

    at_once = 8

    def __init__(self, endpoint: Endpoint, model: str, timeout_s: float) -> None:
        self.name = model
        self.sees = True
        self.max_length = 0
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._client = endpoint.client(timeout_s)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="requests", daemon=True).start()

    @classmethod
    def connect(cls, endpoint: Endpoint, model: str | None = None, timeout_s: float = 120) -> OpenAIBackend:
        """Find the model, and find out by two one-token questions whether it answers and takes pictures.

        Args:
            endpoint: the server's address.
            model: the model's name there; None takes the only one that it serves.
            timeout_s: the longest silence in a reply.

        Raises:
            UserError: the server cannot be reached, refuses the key, or does not serve this model.
        """
        backend = cls(endpoint, model or "", timeout_s)
        rows = backend._served()
        backend.name = model or model_to_ask(endpoint, rows)
        row = next((row for row in rows if row["id"] == backend.name), {})
        length = row.get("max_model_len")
        backend.max_length = length if isinstance(length, int) else 0
        short = replace(GREEDY, max_new_tokens=1)
        try:
            backend.answer_batch([_HELLO], short)
        except UserError as error:
            raise UserError(f"{endpoint.url}: {error}") from None
        try:
            backend.answer_batch([_LOOK], short)
        except UserError as error:
            if isinstance(error, BusyError) or (isinstance(error, RemoteError) and not error.replied):
                raise UserError(f"{endpoint.url}: {error}") from None
            backend.sees = False  # it answered in text a moment ago: the picture is what it refuses
        return backend

    def stream(
        self,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
    ) -> Generator[str, None, Finished]:
        """See `ChatBackend.stream`. A bad question raises here, before the first piece is asked for."""
        check_messages(messages, sees=self.sees, name=self.name)
        return self._stream(self._body(messages, settings), cancel)

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        """See `ChatBackend.answer_batch`."""
        bodies = []
        for messages in conversations:
            check_messages(messages, sees=self.sees, name=self.name)
            bodies.append(self._body(messages, settings))

        async def ask_all() -> list[str]:
            room = asyncio.Semaphore(self.at_once)

            async def ask(body: dict[str, Any]) -> str:
                async with room:
                    return "".join([p async for p in self._pieces(body) if isinstance(p, str)]).strip()

            return await asyncio.gather(*map(ask, bodies))

        return asyncio.run_coroutine_threadsafe(ask_all(), self._loop).result()

    def ready(self) -> bool:
        """See `ChatBackend.ready`: whether the server can be reached and takes the key."""
        try:
            self._served()
        except UserError:
            return False
        return True

    def models(self) -> list[str]:
        """The names of all models that the server lists.

        Raises:
            UserError: it cannot be asked.
        """
        return [str(row["id"]) for row in self._served()]

    def _served(self) -> list[dict[str, Any]]:
        """The models that the server names; none where it does not list them."""

        async def get() -> list[dict[str, Any]]:
            response = await self._client.get(f"{self._endpoint.url}/models", timeout=10)
            if response.status_code == 404:
                return []
            self._check(response)
            try:
                body = response.json()
            except (ValueError, RecursionError):
                body = None
            if not isinstance(body, dict):
                raise UserError(f"the reply is not JSON; check {self._endpoint.url_option}")
            return model_rows(body)

        try:
            return asyncio.run_coroutine_threadsafe(self._translated(get()), self._loop).result()
        except UserError as error:
            raise UserError(f"{self._endpoint.url}: {error}") from None

    def _body(self, messages: Sequence[ChatMessage], settings: GenerationSettings) -> dict[str, Any]:
        greedy = settings.temperature == 0 or settings.top_p == 0  # servers refuse a top_p of 0
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [
                {
                    "role": message.role,
                    "content": user_content(message.text, [encode_picture(i) for i in message.images]),
                }
                for message in messages
            ],
            "max_tokens": settings.max_new_tokens,
            "temperature": 0 if greedy else settings.temperature,
            "top_p": 1 if greedy else settings.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if settings.seed is not None:
            body["seed"] = settings.seed
        if settings.stop:
            body["stop"] = list(settings.stop)
        if settings.repetition_penalty != 1:  # not OpenAI's, but vLLM's, LMDeploy's and SGLang's
            body["repetition_penalty"] = settings.repetition_penalty
        return body

    def _stream(self, body: dict[str, Any], cancel: threading.Event | None) -> Generator[str, None, Finished]:
        pieces: queue.Queue[str | Finished | BaseException] = queue.Queue()
        task = asyncio.run_coroutine_threadsafe(self._put_pieces(body, pieces.put), self._loop)
        try:
            while not (cancel and cancel.is_set()):
                try:
                    piece = pieces.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if isinstance(piece, Finished):
                    return piece
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
            return Finished("cancelled")
        finally:
            task.cancel()

    async def _put_pieces(
        self, body: dict[str, Any], put: Callable[[str | Finished | BaseException], None]
    ) -> None:
        try:
            async for piece in self._pieces(body):
                put(piece)
        except Exception as error:
            put(error)

    async def _pieces(self, body: dict[str, Any]) -> AsyncIterator[str | Finished]:
        """The answer's pieces, then how it ended."""
        url = f"{self._endpoint.url}/chat/completions"
        reason: Literal["stop", "length"] = "stop"
        usage: dict[str, Any] = {}
        complete = False
        try:
            async with self._client.stream("POST", url, json=body) as response:
                if not response.is_success:
                    await response.aread()
                self._check(response)
                async for event in events(response):
                    if error := event.get("error"):  # some servers send a null with each piece
                        said = self._endpoint.clean(str(error))
                        raise RemoteError(f"the model's server failed ({said})", replied=True)
                    usage = event.get("usage") or usage
                    for choice in event.get("choices") or ():
                        if text := (choice.get("delta") or {}).get("content"):
                            yield text
                        if choice.get("finish_reason"):
                            complete = True
                            reason = "length" if choice["finish_reason"] == "length" else "stop"
        except httpx.HTTPError as error:
            raise self._trouble(error) from None
        if not complete:
            raise RemoteError("the answer broke off, or is no stream of a chat completion")
        yield Finished(reason, usage.get("prompt_tokens"), usage.get("completion_tokens"))

    async def _translated(self, reply: Any) -> Any:
        try:
            return await reply
        except httpx.HTTPError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: httpx.HTTPError) -> RemoteError:
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return RemoteError("the model's server cannot be reached; check that it runs")
        if isinstance(error, httpx.TimeoutException):
            return RemoteError(f"no word from the model's server for {self._timeout_s:g} s; ask again")
        return RemoteError(f"the connection to the model's server broke ({type(error).__name__}); ask again")

    def _check(self, response: httpx.Response) -> None:
        """Raises what a refused request means; its body must have been read."""
        if response.is_success:
            return
        status = response.status_code
        said = self._endpoint.clean(f"{status} {error_of(response)[0]}")
        if status in (429, 503):
            raise BusyError(f"the model's server is busy ({said}); try again in a minute")
        if remedy := self._endpoint.remedy(status):
            raise RemoteError(f"{said}; {remedy}", replied=True)
        if status in (400, 413, 422):
            raise UserError(f"the model's server refuses the question ({said})")
        raise RemoteError(f"the model's server failed ({said})", replied=True)
