"""When requests go, on a clock that passes only when somebody sleeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llava_tuning.distillation.pacing import Pace

if TYPE_CHECKING:
    from tests.distillation.conftest import FakeClock


def schedule(pace: Pace, clock: FakeClock, requests: int) -> list[float]:
    """When each of so many requests, which all want to go at once, goes."""
    times: list[float] = []

    async def go() -> None:
        await pace.turn()
        times.append(clock.now())

    async def all_of_them() -> None:
        await asyncio.gather(*(go() for _ in range(requests)))

    asyncio.run(all_of_them())
    return times


def test_requests_are_spread_evenly(clock: FakeClock) -> None:
    assert schedule(Pace(30, clock), clock, 5) == [0, 2, 4, 6, 8]


def test_a_slow_teacher_is_not_made_up_for_in_a_burst(clock: FakeClock) -> None:
    pace = Pace(30, clock)
    assert schedule(pace, clock, 2) == [0, 2]
    clock.time = 100
    assert schedule(pace, clock, 3) == [100, 102, 104]


def test_without_a_limit_nobody_waits(clock: FakeClock) -> None:
    assert schedule(Pace(None, clock), clock, 3) == [0, 0, 0]
    assert clock.slept == []


def test_a_pause_holds_all_back_also_those_in_line(clock: FakeClock) -> None:
    pace = Pace(60, clock)
    assert schedule(pace, clock, 1) == [0]
    sleep = clock.sleep

    async def sleep_and_be_told_to_pause(seconds: float) -> None:
        clock.sleep = sleep  # once
        await sleep(seconds)
        pace.hold(10)

    clock.sleep = sleep_and_be_told_to_pause
    assert schedule(pace, clock, 3) == [11, 12, 13]
    pace.hold(0.5)  # shorter than what is already to be waited
    assert schedule(pace, clock, 1) == [14]
