"""How long a failed reply asks to wait before the next try."""

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
