"""When the next request may go: spread over the minute, and held back when the teacher asks for a pause."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that pass; a test's own clock makes them pass at once."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after so many seconds."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)


class Pace:
    """Lets requests go one after the other, in the order in which they came.

    Args:
        per_minute: requests are 60 / per_minute seconds apart, without bursts; None sets no distance.
    """

    def __init__(self, per_minute: float | None, clock: Clock) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0  # seconds
        self._clock = clock
        self._next = clock.now()
        self._line = asyncio.Lock()

    async def turn(self) -> None:
        """Come back when this request may go."""
        async with self._line:
            while (wait := self._next - self._clock.now()) > 0:  # `hold` may have moved it meanwhile
                await self._clock.sleep(wait)
            self._next = self._clock.now() + self._interval

    def hold(self, seconds: float) -> None:
        """Let no request go for so many seconds from now."""
        self._next = max(self._next, self._clock.now() + seconds)
