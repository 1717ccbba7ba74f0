"""Who may come in, and what leaves: credentials, no fetching for strangers, and a content-security policy."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.openai_errors import error_response
from llava_tuning.errors import UserError

PASSWORD_VARIABLE = "LLAVA_TUNING_AUTH"
KEY_VARIABLE = "LLAVA_TUNING_API_KEY"
OPEN_PATHS = ("/live",)
# Whatever an answer says, the browser asks no other machine for it.
CONTENT_SECURITY_POLICY = (
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:"
)
# Gradio takes `/file=`, and `/file/` from older clients.
_ADDRESS_AS_FILE = re.compile(r"/(file|proxy)[=/]\s*https?:", re.IGNORECASE)


@dataclass(frozen=True)
class Credentials:
    """What a request must show; nothing where both are None. Shown nowhere.

    Args:
        password: `user:password`, for HTTP's basic authentication, which browsers ask for.
        key: for `Authorization: Bearer`, as OpenAI's clients send it; a browser takes it as the password of
            any user.
    """

    password: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> Credentials:
        """From the environment, where no list of processes shows them.

        Raises:
            UserError: a variable is there, but empty or not in its form.
        """
        password, key = os.environ.get(PASSWORD_VARIABLE), os.environ.get(KEY_VARIABLE)
        if password is not None:
            user, _, word = password.partition(":")
            if not user or not word:
                raise UserError(
                    f"{PASSWORD_VARIABLE} is not in the form user:password; set it so, or unset it"
                )
        if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
            raise UserError(f"{KEY_VARIABLE} is empty or holds characters that no key has; set or unset it")
        return cls(password, key)

    def __bool__(self) -> bool:
        return self.password is not None or self.key is not None

    def admit(self, authorization: str) -> bool:
        """Whether a request with this `Authorization` header may come in."""
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return _same(value.strip(), self.key)
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return False
        known = _same(given, self.password)
        return _same(given.partition(":")[2], self.key) or known


def _same(given: str, right: str | None) -> bool:
    """Compare in a time that tells nothing of where they differ."""
    return right is not None and secrets.compare_digest(given.encode(), right.encode())


class Guard:
    """ASGI middleware around everything that the app serves."""

    def __init__(self, app: ASGIApp, credentials: Credentials) -> None:
        self._app = app
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401 or 403."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        path = scope["path"]
        if refusal := self._refusal(path, Headers(scope=scope).get("authorization", "")):
            return await refusal(scope, receive, send)

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)

    def _refusal(self, path: str, authorization: str) -> Response | None:
        if path in OPEN_PATHS:
            return None
        if self._credentials and not self._credentials.admit(authorization):
            if path.startswith("/v1"):
                return _no_key(bool(authorization))
            challenge = {"WWW-Authenticate": 'Basic realm="LLaVA Tuning", charset="UTF-8"'}
            return PlainTextResponse("Name and password, or API key, are needed.\n", 401, challenge)
        if _ADDRESS_AS_FILE.search(path):  # Gradio would fetch it and hand it on
            return PlainTextResponse("Addresses are not fetched.\n", 403)
        return None


def _no_key(given: bool) -> JSONResponse:
    said = "Incorrect API key" if given else "No API key"
    message = f"{said}; send the key that the server was started with as 'Authorization: Bearer KEY'"
    response = error_response(401, message, code="invalid_api_key")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
