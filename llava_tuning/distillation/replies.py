"""What a failed reply says: its message, and how long to wait before the next try."""

from __future__ import annotations

import email.utils
from datetime import datetime, timezone

import httpx


def retry_after(headers: httpx.Headers) -> float:
    """The pause in seconds that a reply asks for, by seconds or by date; 0 where it asks for none."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    until, sent = (_date(headers.get(name, "")) for name in ("retry-after", "date"))
    if until is None:
        return 0.0
    # By the server's own clock where it tells it: this machine's may be wrong.
    return max(0.0, (until - (sent or datetime.now(timezone.utc))).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


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
