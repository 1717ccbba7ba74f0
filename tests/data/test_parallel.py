"""Pictures that several processes draw are the ones that this process would draw, and faults are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from everyday_cases import write_everyday

from llava_tuning.data import parallel
from llava_tuning.data.everyday.conversations import write_conversations
from llava_tuning.data.everyday.table import EverydayPicture, write_table
from llava_tuning.data.scenes import write_scenes
from llava_tuning.errors import UserError

WITH_PROCESS = "({}, __import__('os').getpid())"  # what `eval` makes of it tells where it was done


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "FEW", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.mark.usefixtures("two_cores")
def test_results_come_in_order_from_other_processes():
    found = list(parallel.on_all_cores(eval, [WITH_PROCESS.format(number) for number in range(120)]))
    assert [number for number, _ in found] == list(range(120))
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.usefixtures("two_cores")
def test_what_is_wrong_in_another_process_is_said_here(tmp_path: Path):
    lost = EverydayPicture(
        "dog.png", "openmoji", "dog", "狗", "animals-nature", "animal-mammal", None, "train"
    )
    write_table(tmp_path, [lost])
    with pytest.raises(UserError, match=r"dog\.png: no such picture") as raised:
        write_conversations(tmp_path, tmp_path / "out", 40, size=64)
    assert type(raised.value.__cause__).__name__ == "_RemoteTraceback"


def test_few_items_are_done_here():
    items = [WITH_PROCESS.format(number) for number in range(100)]
    assert {process for _, process in parallel.on_all_cores(eval, items)} == {os.getpid()}


def test_processes_draw_the_same_pictures(tmp_path: Path, request: pytest.FixtureRequest):
    everyday = write_everyday(tmp_path / "everyday")

    def draw(out: Path) -> dict[str, bytes]:
        write_scenes(out, 60, seed=3, size=64, language="both")
        write_conversations(everyday, out / "everyday", 60, size=64, language="both")
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}

    alone = draw(tmp_path / "one")
    request.getfixturevalue("two_cores")
    assert len(alone) == 126 and draw(tmp_path / "two") == alone
