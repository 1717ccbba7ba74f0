from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llava_tuning.errors import UserError
from llava_tuning.models.cache import build_once, cache_root


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAVA_TUNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_root_is_the_environments_or_in_the_home(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_root() == own_cache
    monkeypatch.delenv("LLAVA_TUNING_CACHE")
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_root() == Path("/somewhere/.cache/llava-tuning")


def test_builds_once_and_reuses() -> None:
    calls = []

    def builder(out: Path) -> None:
        calls.append(out)
        (out / "a").write_text("1")

    first, second = build_once("thing", builder), build_once("thing", builder)
    assert first == second == cache_root() / "thing"
    assert (first / "a").read_text() == "1"
    assert len(calls) == 1


def test_a_failed_build_leaves_nothing_and_can_be_repeated() -> None:
    def fails(out: Path) -> None:
        (out / "half").write_text("x")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        build_once("thing", fails)
    assert [p.name for p in cache_root().iterdir() if not p.name.endswith(".lock")] == []
    build_once("thing", lambda out: (out / "a").touch())
    assert [p.name for p in (cache_root() / "thing").iterdir()] == ["a"]


def test_what_a_killed_process_left_is_swept_away() -> None:
    left = cache_root() / ".thing.tmp-dead"
    left.mkdir(parents=True)
    build_once("thing", lambda out: (out / "a").touch())
    assert not left.exists()


def test_processes_at_once_build_once(own_cache: Path) -> None:
    script = (
        "import time, sys\n"
        "from llava_tuning.models.cache import build_once\n"
        "def build(out):\n"
        "    print('built'); time.sleep(0.5); (out / 'a').write_text('1')\n"
        "print((build_once('thing', build) / 'a').read_text())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(outputs, key=len) == [["1"], ["1"], ["built", "1"]]


def test_an_unwritable_cache_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAVA_TUNING_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="LLAVA_TUNING_CACHE"):
        build_once("thing", lambda out: None)
