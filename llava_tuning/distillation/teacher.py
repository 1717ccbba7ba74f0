"""A stronger model behind an OpenAI-compatible address, asked until it answers or cannot be expected to."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from llava_tuning.distillation.pacing import Clock, Pace, RealClock
from llava_tuning.distillation.replies import error_of, retry_after
from llava_tuning.errors import UserError

MAX_PAUSE_S = 600  # the longest pause that a teacher is waited for
MAX_BACKOFF_S = 60
CONNECT_TIMEOUT_S = 10
_PASSING = frozenset({408, 409, 425, 429})  # and all from 500 on: the same request may succeed later
_FINAL = {
    401: "set the environment variable {key_name} to a valid key",
    402: "pay, or choose another teacher",
    404: "check --teacher-url and --teacher-model",
}  # every further question would get the same answer


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
        object.__setattr__(self, "url", _base_url(self.url))
        if self.key is not None and not (
            self.key.isascii() and self.key.isprintable() and " " not in self.key
        ):
            raise UserError(f"{self.key_name} holds characters that no key has; copy the key again")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise UserError(f"temperature is {self.temperature}; choose 0 (always the likeliest word) to 2")
        if not self.timeout_s > 0:
            raise UserError(f"a timeout of {self.timeout_s} s lets no reply come; choose more than 0")


class Teacher:
    """Sends requests; a context manager. `pace` is shared by all requests, repeated ones too."""

    def __init__(self, settings: TeacherSettings, pace: Pace, clock: Clock | None = None) -> None:
        self.model = settings.model
        self._settings = settings
        self._pace = pace
        self._clock = clock or RealClock()
        self._reached = False

    async def __aenter__(self) -> Teacher:
        key = self._settings.key
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),  # the whole reply's is in `_send`
            limits=httpx.Limits(max_connections=None),  # as many as requests are made at once
        )
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
            rows = listed.get("data")
            names = [
                str(row["id"])
                for row in (rows if isinstance(rows, list) else [])
                if isinstance(row, dict) and "id" in row
            ]
            if len(names) != 1:
                shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "") or "none"
                raise UserError(
                    f"{self._settings.url} serves {len(names)} models; "
                    f"name one with --teacher-model ({self._clean(shown)})"
                )
            self.model = names[0]
        return self.model

    async def ask(self, prompt: str, picture_url: str | None = None, system: str | None = None) -> str:
        """The reply to one prompt, about a picture given as a `data:` address or about none.

        Raises:
            Unanswered: there is none, it is empty, refused or cut off.
            UserError: nobody will get an answer: a wrong key, address or model, or the teacher is gone.
        """
        content: str | list[dict[str, Any]] = prompt
        if picture_url:
            picture = {"type": "image_url", "image_url": {"url": picture_url}}
            content = [picture, {"type": "text", "text": prompt}]
        messages = [{"role": "system", "content": system}] if system else []
        body = {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": content}],
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
            raise Unanswered("the reply is not a chat completion", self._clean(str(body))) from None
        text = self._clean(text) if isinstance(text, str) else ""
        if reason == "length":
            raise Unanswered("the reply was cut off at its longest length; raise --max-tokens", text)
        if reason == "content_filter" or refusal:
            why = f" ({self._clean(str(refusal))})" if refusal else ""
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
            raise Unanswered("the reply is not JSON; check --teacher-url", self._clean(response.text))
        return body

    def _trouble(self, response: httpx.Response) -> str:
        """What a failed request says.

        Raises:
            Unanswered, UserError: repeating it would not help this question, or any.
        """
        message, code = error_of(response)
        said = self._clean(f"{response.status_code} {message}")
        if code == "insufficient_quota":
            raise UserError(f"{response.url}: {said}; raise the account's limit")
        if remedy := _FINAL.get(response.status_code):
            remedy = remedy.format(key_name=self._settings.key_name)
            raise UserError(f"{response.url}: {said}; {remedy}")
        if response.status_code not in _PASSING and response.status_code < 500:
            raise Unanswered(said)
        return said

    def _clean(self, text: str) -> str:
        """Without the key, which some servers repeat."""
        return text.replace(self._settings.key, "[key]") if self._settings.key else text


def _base_url(given: str) -> str:
    """The address up to and with `/v1`, from any of the usual ways to write it."""
    example = "write it like http://127.0.0.1:8000/v1"
    try:
        url = httpx.URL(given.strip())
    except httpx.InvalidURL:
        raise UserError(f"--teacher-url is no address; {example}") from None
    if url.userinfo or url.query:
        raise UserError("--teacher-url holds more than an address; a key comes from the environment alone")
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"--teacher-url is no address of a web server; {example}")
    path = url.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return str(url.copy_with(path=path, fragment=None))
