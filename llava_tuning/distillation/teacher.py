"""A stronger model behind an OpenAI-compatible address, asked until it answers or cannot be expected to."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from llava_tuning.distillation.pacing import Clock, Pace, RealClock
from llava_tuning.distillation.replies import retry_after
from llava_tuning.errors import UserError
from llava_tuning.inference.openai_client import (
    CONNECT_TIMEOUT_S,
    Endpoint,
    error_of,
    model_rows,
    model_to_ask,
    user_content,
)

MAX_PAUSE_S = 600  # the longest pause that a teacher is waited for
MAX_BACKOFF_S = 60
_PASSING = frozenset({408, 409, 425, 429})  # and all from 500 on: the same request may succeed later


class Unanswered(Exception):
    """Why one question has no answer, and what the teacher wrote, if anything."""

    def __init__(self, message: str, reply: str | None = None) -> None:
        super().__init__(message)
        self.reply = reply


@dataclass(frozen=True)
class TeacherSettings:
    """Who is asked, and how.

    Args:
        url: the address up to `/v1`, as the `openai` client takes it.
        model: the model's name there; None takes the only one that the address serves.
        temperature: None leaves it to the teacher, as does `max_tokens`.
        max_tokens: the longest reply, in tokens.
        timeout_s: for a whole reply, in seconds.
        retries: how often a request is repeated after the first try.
        key: the API key; None sends none. Shown nowhere.
        key_name: the environment variable that it is from, for messages.

    Raises:
        UserError: an address or key that no request can be made of, or a value out of its range.
    """

    url: str
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout_s: float = 120
    retries: int = 5
    key: str | None = field(default=None, repr=False)
    key_name: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.endpoint.url)
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise UserError(f"temperature is {self.temperature}; choose 0 (always the likeliest word) to 2")
        if not self.timeout_s > 0:
            raise UserError(f"a timeout of {self.timeout_s} s lets no reply come; choose more than 0")

    @property
    def endpoint(self) -> Endpoint:
        """The address with its key."""
        return Endpoint(self.url, self.key, self.key_name, "--teacher-url", "--teacher-model")


class Teacher:
    """Sends requests; a context manager. `pace` is shared by all requests, repeated ones too."""

    def __init__(self, settings: TeacherSettings, pace: Pace, clock: Clock | None = None) -> None:
        self.model = settings.model
        self._settings = settings
        self._endpoint = settings.endpoint
        self._pace = pace
        self._clock = clock or RealClock()
        self._reached = False

    async def __aenter__(self) -> Teacher:
        self._client = self._endpoint.client(None)  # the time for a whole reply is in `_send`
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def choose_model(self) -> str:
        """The model that is asked: the named one, or the only one that the address serves.

        Raises:
            UserError: it serves none or several, or cannot be asked.
        """
        if self.model is None:
            try:
                listed = await self._send("GET", "models")
            except Unanswered as error:
                raise UserError(f"{self._settings.url}: {error}; name a model with --teacher-model") from None
            self.model = model_to_ask(self._endpoint, model_rows(listed))
        return self.model

    async def ask(self, prompt: str, picture_url: str | None = None, system: str | None = None) -> str:
        """The reply to one prompt, about a picture given as a `data:` address or about none.

        Raises:
            Unanswered: there is none, it is empty, refused or cut off.
            UserError: nobody will get an answer: a wrong key, address or model, or the teacher is gone.
        """
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        pictures = [picture_url] if picture_url else []
        body = {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": user_content(prompt, pictures)}],
            "temperature": self._settings.temperature,
            "max_tokens": self._settings.max_tokens,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return self._reply(await self._send("POST", "chat/completions", given))

    def _reply(self, body: dict[str, Any]) -> str:
        try:
            choice = body["choices"][0]
            message, reason = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content"), message.get("refusal")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise Unanswered("the reply is not a chat completion", self._endpoint.clean(str(body))) from None
        text = self._endpoint.clean(text) if isinstance(text, str) else ""
        if reason == "length":
            raise Unanswered("the reply was cut off at its longest length; raise --max-tokens", text)
        if reason == "content_filter" or refusal:
            why = f" ({self._endpoint.clean(str(refusal))})" if refusal else ""
            raise Unanswered(f"the teacher refused to answer{why}", text or None)
        if not text.strip():
            raise Unanswered("the reply is empty")
        return text

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request, repeated where its trouble may pass; the body of the reply."""
        url, trouble = f"{self._settings.url}/{path}", ""
        for attempt in range(self._settings.retries + 1):
            await self._pace.turn()
            pause = 0.0
            try:
                request = self._client.request(method, url, json=body)
                response = await asyncio.wait_for(request, self._settings.timeout_s)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                trouble = f"cannot be reached ({error or f'no connection within {CONNECT_TIMEOUT_S} s'})"
                if not self._reached or attempt == self._settings.retries:
                    raise UserError(f"{url}: {trouble}; check --teacher-url and the server") from None
            except (asyncio.TimeoutError, httpx.TimeoutException):
                trouble = f"no reply within {self._settings.timeout_s:g} s"
            except httpx.TransportError as error:
                trouble = f"the connection broke ({type(error).__name__})"
            else:
                self._reached = True
                if response.is_success:
                    return self._json(response)
                trouble = self._trouble(response)
                pause = retry_after(response.headers)
            if attempt == self._settings.retries:
                break
            if pause > MAX_PAUSE_S:
                raise UserError(f"{url}: {trouble}; it asks for a pause of {pause:,.0f} s, come back then")
            if pause:
                self._pace.hold(pause)
            else:
                await self._clock.sleep(min(MAX_BACKOFF_S, 2**attempt) * random.uniform(0.5, 1))
        raise Unanswered(f"{trouble}, tried {self._settings.retries + 1} times")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except (ValueError, RecursionError):  # RecursionError: brackets without end
            body = None
        if not isinstance(body, dict):
            raise Unanswered(
                "the reply is not JSON; check --teacher-url", self._endpoint.clean(response.text)
            )
        return body

    def _trouble(self, response: httpx.Response) -> str:
        """What a failed request says.

        Raises:
            Unanswered, UserError: repeating it would not help this question, or any.
        """
        message, code = error_of(response)
        said = self._endpoint.clean(f"{response.status_code} {message}")
        if code == "insufficient_quota":
            raise UserError(f"{response.url}: {said}; raise the account's limit")
        if remedy := self._endpoint.remedy(response.status_code):
            raise UserError(f"{response.url}: {said}; {remedy}")
        if response.status_code not in _PASSING and response.status_code < 500:
            raise Unanswered(said)
        return said
