"""What asking an OpenAI-compatible address takes: address, key, model names, and what went wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import RemoteError

CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and as whom.

    Args:
        url: the address up to `/v1`, in any of the usual ways to write it; kept as `http://host:port/v1`.
        key: the API key; None sends none. Shown nowhere.
        key_name: the environment variable that it is from, for messages.
        url_option, model_option: what the command line calls address and model, for messages.

    Raises:
        UserError: an address or key that no request can be made of.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    key_name: str = "OPENAI_API_KEY"
    url_option: str = "--base-url"
    model_option: str = "--model"

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self._base_url())
        if self.key is not None and not (
            self.key.isascii() and self.key.isprintable() and " " not in self.key
        ):
            raise UserError(f"{self.key_name} holds characters that no key has; copy the key again")

    def client(self, read_timeout_s: float | None) -> httpx.AsyncClient:
        """A client that sends the key and makes any number of requests at once.

        Args:
            read_timeout_s: the longest silence in a reply; None waits for ever.
        """
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self.key}"} if self.key else None,
            timeout=httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
            # Each request on a connection of its own: llama.cpp closes those it said it would keep, and the
            # next request on one would fail.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def clean(self, text: str) -> str:
        """Without the key, which some servers repeat."""
        return text.replace(self.key, "[key]") if self.key else text

    def remedy(self, status: int) -> str | None:
        """What mends a refusal that every further request would get too; None for others."""
        return {
            401: f"set the environment variable {self.key_name} to a valid key",
            402: f"pay, or choose another {self.url_option}",
            404: f"check {self.url_option} and {self.model_option}",
        }.get(status)

    def _base_url(self) -> str:
        example = "write it like http://127.0.0.1:8000/v1"
        try:
            url = httpx.URL(self.url.strip())
        except httpx.InvalidURL:
            raise UserError(f"{self.url_option} is no address; {example}") from None
        if url.userinfo or url.query:
            raise UserError(
                f"{self.url_option} holds more than an address; a key comes from the environment alone"
            )
        if url.scheme not in ("http", "https") or not url.host:
            raise UserError(f"{self.url_option} is no address of a web server; {example}")
        path = url.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
        return str(url.copy_with(path=path, fragment=None))


def model_to_ask(endpoint: Endpoint, rows: Sequence[Mapping[str, Any]]) -> str:
    """The one model that an address serves, or the one that this project's server was started on.

    Args:
        rows: from `model_rows`.

    Raises:
        UserError: it serves none, or several of which none is marked.
    """
    marked = [str(row["id"]) for row in rows if row.get("default") is True]
    served = marked if len(marked) == 1 else [str(row["id"]) for row in rows]
    if len(served) != 1:
        shown = ", ".join(served[:10]) + (", …" if len(served) > 10 else "") or "none"
        raise UserError(
            f"{endpoint.url} serves {len(served)} models; "
            f"name one with {endpoint.model_option} ({endpoint.clean(shown)})"
        )
    return served[0]


def model_rows(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a reply to `GET /models` that name a model by "id"."""
    rows = body.get("data")
    return [row for row in (rows if isinstance(rows, list) else []) if isinstance(row, dict) and "id" in row]


def user_content(text: str, picture_urls: Sequence[str]) -> str | list[dict[str, Any]]:
    """A user turn's content: its pictures, as `data:` addresses, before its text."""
    if not picture_urls:
        return text
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in picture_urls]
    return [*pictures, {"type": "text", "text": text}]


def error_of(response: httpx.Response) -> tuple[str, str | None]:
    """(message, code) of a failed reply, in the shapes that servers give it; one line."""
    code = None
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = response.text
    if isinstance(body, dict):
        error = body.get("error") or body
        if isinstance(error, dict):
            code = error.get("code")
            body = error.get("message") or error.get("detail") or error
        else:
            body = error
    line = " ".join(str(body).split()) or response.reason_phrase
    return (line if len(line) <= 300 else f"{line[:300]}…"), code


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events.

    Lines end where the protocol says; `aiter_lines` also ends them at characters that answers may contain.

    Raises:
        RemoteError: an event is not JSON.
    """
    rest = b""
    async for data in response.aiter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.strip().partition(b":")
            if name != b"data" or value.strip() == b"[DONE]":
                continue
            try:
                event = json.loads(value)
            except ValueError:
                raise RemoteError("the answer of the model's server is not JSON") from None
            if isinstance(event, dict):
                yield event
