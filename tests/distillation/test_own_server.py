"""The project's own server as the teacher: the real command, a real server, the real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"
QUESTIONS = [
    {"id": "circle", "question": "What shape is in the image?", "image": "red_circle.png"},
    {"id": "triangle", "question": "What color is the shape?", "image": "blue_triangle.png"},
    {"id": "text", "question": "What is the capital of France?"},
]


def distill(url: str, *options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "llava_tuning",
        "data",
        "distill",
        "--teacher-url",
        url,
        *map(str, options),
    ]
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    env |= {"NO_PROXY": "127.0.0.1", **environment}
    return forked.run(command, env=env, capture_output=True, timeout=120)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    return file


def test_its_answers_about_pictures_become_records(app, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    options = ("--questions", questions, "--images", SAMPLES, "--temperature", "0", "--out", out)
    done = distill(app.url, *options)
    assert done.returncode == 0, done.stderr
    records = {row["id"]: row for row in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    said = {name: row["conversations"][-1]["value"] for name, row in records.items()}
    assert (said["circle"], said["triangle"]) == ("circle", "blue")
    assert "Paris" in said["text"]
    assert [records[row["id"]]["image"] for row in QUESTIONS] == ["red_circle.png", "blue_triangle.png", None]
    command = [sys.executable, "-m", "llava_tuning", "data", "check", out, "--images", SAMPLES]
    checked = forked.run(command, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = distill(app.url, *options)
    assert "3 records, 0 of them new" in again.stdout


def test_its_refusals_reach_the_user(text_app, start_app, app, questions: Path, tmp_path: Path) -> None:
    options = ("--questions", questions, "--images", SAMPLES, "--retries", "0", "--out")
    blind = distill(text_app.url, *options, tmp_path / "blind.jsonl")
    assert blind.returncode == 1
    assert "is a text model and takes no pictures" in blind.stderr
    assert "1 records, 1 of them new" in blind.stdout  # the question in text was answered
    other = distill(app.url, *options, tmp_path / "other.jsonl", "--teacher-model", "gpt-4o")
    assert other.returncode == 2 and "this server has 'default'" in other.stderr
    front = start_app("--backend", "openai", "--base-url", f"{app.url}/v1", LLAVA_TUNING_API_KEY="sk-key")
    without = distill(front.url, *options, tmp_path / "key.jsonl")
    assert without.returncode == 2 and "set the environment variable OPENAI_API_KEY" in without.stderr
    with_key = distill(front.url, *options, tmp_path / "key.jsonl", OPENAI_API_KEY="sk-key")
    assert with_key.returncode == 0, with_key.stderr
