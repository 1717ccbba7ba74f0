"""`llava-tuning doctor` finds what is wrong with a machine and says what to do; 1 where it stops the app."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import forked
import pytest

from llava_tuning import doctor
from llava_tuning.doctor import Check, diagnose, libraries
from llava_tuning.inference.machine import GIB, Gpu, Machine

MACHINE = Machine("a CPU", 8, 16 * GIB, 12 * GIB, bfloat16=False, int8=False)
FREE = Check("port", "free")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "llava_tuning", "doctor", *options]
    wide = {**os.environ, "COLUMNS": "200"}
    return forked.run(words, capture_output=True, env=wide)


def test_here_the_app_can_be_started_and_the_embedded_model_fits(default_model: Path, free_port: int) -> None:
    done = run("--port", str(free_port), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["can_start"] and found["machine"]["free"] > GIB
    demo = [fit for fit in found["fits"] if "demo" in fit["model"] and fit["place"] == "CPU"]
    assert [fit["mode"] for fit in demo] == ["float32", "bfloat16", "int8", "4bit"]
    assert demo[0]["fits"] and demo[0]["needed_gib"] > demo[1]["needed_gib"] > 1


def test_a_port_in_use_ends_it_with_1_and_the_remedy(default_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert f"port {port} is in use" in text and "stop the other" in text and "1 of these" in text


def test_libraries_are_compared_with_what_is_known_to_work(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("rich  # there\ntyper==0.0.1\nno-such-library>=2\n")
    found = list(libraries(file, "stops", "install them"))
    assert [(check.name, check.state) for check in found] == [
        ("typer", "note"),
        ("no-such-library", "stops"),
        ("requirements.txt", "ok"),
    ]
    assert "known to work: ==0.0.1" in found[0].found and found[1].remedy == "install them"
    assert "1 of 3" in found[2].found


@pytest.fixture(scope="module")
def found() -> doctor.Diagnosis:
    card = Gpu(0, "a card", 16 * GIB, 15 * GIB, bfloat16=False)
    return diagnose(replace(MACHINE, gpus=(card,)), FREE)


def test_what_fits_is_computed_for_each_card_and_the_cpu(found: doctor.Diagnosis) -> None:
    fits = {(fit.model.split(",")[0], fit.place, fit.mode): fit for fit in found.fits}
    assert fits["InternLM2-7B", "GPU 0", "8bit"].fits
    assert not fits["InternLM2-7B", "GPU 0", "float16"].fits
    assert not fits["InternLM2-1.8B", "CPU", "int8"].fits
    assert "no VNNI" in fits["InternLM2-1.8B", "CPU", "int8"].problem
    # 6.5 billion parameters at 2 bytes, embedding, head, projector and tower at 2, 1 GiB for work
    assert 15 < fits["InternLM2-7B", "GPU 0", "float16"].needed_gib < 18


def test_too_little_memory_stops_the_app() -> None:
    tiny = diagnose(replace(MACHINE, free=GIB // 2), FREE)
    assert not tiny.can_start
    stops = [check for check in tiny.checks if check.state == "stops"]
    assert any("give the container more memory" in check.remedy for check in stops)


def test_a_cache_that_cannot_be_written_stops_the_app(
    found: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found.can_start
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    check = next(doctor._disk())
    assert check.state == "stops" and "LLAVA_TUNING_CACHE" in check.remedy
