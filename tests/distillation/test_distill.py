"""`llava-tuning data distill` asks a real server, and loses, repeats and mixes nothing."""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forked
import pytest
from PIL import Image
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.data.check import check_file
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GREEDY, ChatMessage, load_backend
from llava_tuning.models.pictures import picture_from_data_url

if TYPE_CHECKING:
    from tests.distillation.conftest import FakeClock, FakeTeacher

KEY = "sk-very-secret/0123456789"
FIVE = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(1, 6)]


command_line = functools.cache(_build)  # each building adds all commands anew


class Run:
    """The command, its exit status and what it printed."""

    def __init__(self, teacher: FakeTeacher, *arguments: str | Path) -> None:
        command = ["data", "distill", "--teacher-url", teacher.url, *map(str, arguments)]
        result = CliRunner().invoke(command_line(), command)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.status, self.output = result.exit_code, result.output


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def questions(tmp_path: Path, pictures: Path) -> Path:
    """Four different questions, one of them about a picture."""
    rows = [{"id": str(n), "question": f"Question {n}?"} for n in range(3)]
    return write(pictures / "q.jsonl", [*rows, {"id": "p", "question": "What?", "image": "red.png"}])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "records" / "out.jsonl"


def test_answers_become_records_that_pass_the_check(
    teacher: FakeTeacher, questions: Path, pictures: Path, out: Path
) -> None:
    run = Run(teacher, "--questions", questions, "--out", out, "--system", "Be brief.")
    assert run.status == 0, run.output
    assert "4 records, 4 of them new" in run.output and f"image folder: {pictures}" in run.output
    records = {row["id"]: row for row in read(out)}
    assert records["p"] == {
        "id": "p",
        "image": "red.png",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "<image>\nWhat?"},
            {"from": "gpt", "value": "answer to: What?"},
        ],
    }
    assert records["1"]["image"] is None and records["1"]["conversations"][1]["value"] == "Question 1?"
    assert all(body["messages"][0] == {"role": "system", "content": "Be brief."} for body in teacher.requests)
    assert check_file(out, pictures) == ([], 4)


def test_the_picture_that_is_sent_is_the_picture_of_the_question(
    teacher: FakeTeacher, pictures: Path, out: Path
) -> None:
    assert Run(teacher, "--images", pictures, "--question", "What?", "--out", out).status == 0
    sent = {url.partition(",")[0]: base64.b64decode(url.partition(",")[2]) for url in teacher.pictures if url}
    files = {"png": "red.png", "jpeg": "green.jpg", "webp": "more/blue.webp"}
    assert sent == {
        f"data:image/{kind};base64": (pictures / name).read_bytes() for kind, name in files.items()
    }
    assert sorted(row["image"] for row in read(out)) == sorted(files.values())


def test_answers_belong_to_their_pictures(
    teacher: FakeTeacher, default_model: Path, tmp_path: Path, out: Path
) -> None:
    """The embedded model, behind the test's server, sees the picture that the record names."""
    backend = load_backend(str(default_model), device="cpu")

    def look(question: str) -> str:
        picture = picture_from_data_url(str(teacher.pictures[-1]))
        return backend.answer_batch([[ChatMessage("user", question, (picture,))]], GREEDY)[0]

    teacher.answer = look
    samples = Path(__file__).parents[2] / "assets" / "samples"
    options = ("--images", samples, "--question", "What shape is in the image?", "--concurrency", "1")
    assert Run(teacher, *options, "--out", out).status == 0
    answers = {row["image"]: row["conversations"][1]["value"] for row in read(out)}
    assert set(answers) == {
        "red_circle.png",
        "blue_triangle.png",
        "teal_triangle.png",
        "yellow_rectangle.png",
    }
    for image, answer in answers.items():
        assert answer.lower() in image and answer.lower() in ("circle", "triangle", "rectangle")


def test_five_questions_make_one_record_a_picture(teacher: FakeTeacher, pictures: Path, out: Path) -> None:
    teacher.answer = lambda question: f"Of course!\n```json\n{json.dumps(FIVE)}\n```"
    options = ("--template", "five-questions", "--language", "Chinese")
    run = Run(teacher, "--images", pictures, *options, "--out", out)
    assert run.status == 0, run.output
    assert len(teacher.requests) == 3 and all("Write in Chinese" in text for text in teacher.asked)
    for row in read(out):
        turns = row["conversations"]
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * 5
        assert [turn["value"] for turn in turns[:3]] == ["<image>\nQuestion 1?", "Answer 1.", "Question 2?"]
    assert check_file(out, pictures) == ([], 3)
    assert Run(teacher, "--images", pictures, *options, "--out", out).status == 0
    assert len(teacher.requests) == 3  # a finished run asks nothing


def test_a_reply_that_cannot_be_used_is_kept_apart_and_asked_again(
    teacher: FakeTeacher, pictures: Path, out: Path
) -> None:
    replies = {
        1: json.dumps(FIVE),
        2: "I see \ud83d, 看不清.",
        3: json.dumps(FIVE).replace("Answer 2", "<image>"),
    }
    teacher.answer = lambda question: replies[len(teacher.requests)]
    options = ("--images", pictures, "--template", "five-questions", "--out", out, "--concurrency", "1")
    run = Run(teacher, *options)
    assert run.status == 1
    assert [row["image"] for row in read(out)] == ["green.jpg"]
    assert "(picture more/blue.webp): the reply holds no JSON list" in run.output
    assert "(picture red.png): the reply makes a record that turn 4 (gpt) holds <image>" in run.output
    failed = out.with_name("out.jsonl.failed.jsonl")
    assert f"2 not answered, with the teacher's words in {failed}" in run.output
    assert [(row["image"], row["reply"]) for row in read(failed)] == [
        ("more/blue.webp", replies[2]), ("red.png", replies[3]),
    ]  # fmt: skip

    replies |= {4: json.dumps(FIVE), 5: json.dumps(FIVE)}
    assert Run(teacher, *options).status == 0
    assert len(teacher.requests) == 5 and len(read(out)) == 3
    assert len(read(failed)) == 2  # what the teacher wrote is not thrown away


def test_the_same_question_about_the_same_picture_is_asked_once(
    teacher: FakeTeacher, pictures: Path, tmp_path: Path, out: Path
) -> None:
    shutil.copy(pictures / "red.png", pictures / "copy.png")
    rows = [
        {"id": "a", "question": "What?", "image": "red.png"},
        {"id": "b", "question": "What?", "image": "copy.png"},  # the same picture
        {"id": "c", "question": "What?", "image": "green.jpg"},
        {"id": "d", "question": "What?"},
        {"id": "e", "question": "What?", "system": "Be brief."},
        {"id": "f", "question": "What?"},  # d again
    ]
    options = ("--images", pictures, "--out", out)
    run = Run(teacher, "--questions", write(tmp_path / "q.jsonl", rows), *options)
    assert run.status == 0
    assert "4 records, 4 of them new; repeated questions, asked once: 2" in run.output
    assert sorted(row["id"] for row in read(out)) == ["a", "c", "d", "e"]
    # In another order, the record that is there answers both still.
    run = Run(teacher, "--questions", write(tmp_path / "q.jsonl", rows[::-1]), *options)
    assert run.status == 0 and len(teacher.requests) == 4


def test_no_more_requests_at_a_time_than_allowed(teacher: FakeTeacher, tmp_path: Path, out: Path) -> None:
    rows = [{"question": f"Question {n}?"} for n in range(8)]
    together = threading.Barrier(3)
    teacher.on_request = lambda: together.wait(60) if len(teacher.requests) <= 6 else None  # fails if fewer
    options = ("--questions", write(tmp_path / "q.jsonl", rows), "--out", out, "--concurrency", "3")
    assert Run(teacher, *options, "--limit", "6").status == 0
    assert teacher.most_at_once == 3 and len(read(out)) == 6
    assert Run(teacher, *options).status == 0
    assert sorted(teacher.asked) == [f"Question {n}?" for n in range(8)]


def test_rate_and_retries_are_those_of_the_command(
    teacher: FakeTeacher, clock: FakeClock, questions: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llava_tuning.distillation.pacing.RealClock", lambda: clock)
    times: list[float] = []
    teacher.on_request = lambda: times.append(clock.now())
    options = ("--questions", questions, "--out", out, "--teacher-model", teacher.name, "--concurrency", "1")
    for _ in range(2):
        teacher.fail(500)
    run = Run(teacher, *options, "--requests-per-minute", "2", "--retries", "1")
    assert times == [0, 30, 60, 90, 120]  # twice the first question, then the three others
    assert run.status == 1 and "tried 2 times" in run.output and len(read(out)) == 3


def test_what_cannot_be_asked_is_listed_and_the_rest_is_asked(
    teacher: FakeTeacher, pictures: Path, tmp_path: Path, out: Path
) -> None:
    (pictures / "broken.png").write_bytes(b"not a picture")
    names = ["gone.png", "broken.png", "red.png", "zero\0byte.png"]
    rows = [{"id": name, "question": "What?", "image": name} for name in names]
    teacher.fail(400, {"error": {"message": "no, thanks"}})
    options = ("--questions", write(pictures / "q.jsonl", rows), "--out", out)
    run = Run(teacher, *options)
    assert run.status == 1 and not read(out)
    for said in (
        "gone.png (picture gone.png, 'What?'): ",
        "broken.png: not a picture in PNG",
        "red.png (picture red.png, 'What?'): 400 no, thanks",
        "4 not answered",
    ):
        assert said in run.output
    assert len(read(out.with_name("out.jsonl.failed.jsonl"))) == 4
    for name in names[:2]:
        Image.new("RGB", (9, 9), "green" if name == "gone.png" else "blue").save(pictures / name)
    write(pictures / "q.jsonl", rows[:3])
    assert Run(teacher, *options).status == 0
    assert len(read(out)) == 3
    (pictures / "gone.png").unlink()  # its answer is there already
    assert Run(teacher, *options).status == 0


def test_a_teacher_that_refuses_everything_ends_the_run_and_keeps_what_there_is(
    teacher: FakeTeacher, questions: Path, out: Path
) -> None:
    def refuse_from_the_third_on() -> None:
        if len(teacher.requests) >= 2:
            teacher.key = KEY

    teacher.on_request = refuse_from_the_third_on
    options = ("--questions", questions, "--out", out, "--concurrency", "1")
    with pytest.raises(UserError, match=r"401 .* OPENAI_API_KEY .*\(2 records are in .*out\.jsonl\)"):
        Run(teacher, *options)
    assert len(read(out)) == 2
    teacher.key, teacher.on_request = None, lambda: None
    assert Run(teacher, *options).status == 0
    assert teacher.asked == ["Question 0?", "Question 1?", "Question 2?", "What?"]


def test_requests_under_way_end_with_the_run(teacher: FakeTeacher, questions: Path, out: Path) -> None:
    """While one question is being answered, the teacher refuses another for good."""
    under_way, released = threading.Event(), threading.Event()

    first = threading.Lock()

    def hold_the_first() -> None:
        if first.acquire(blocking=False):
            under_way.set()
            released.wait(60)
        else:
            under_way.wait(60)
            teacher.key = KEY  # from the third request on

    teacher.on_request = hold_the_first
    try:
        with pytest.raises(UserError, match="401"):
            Run(teacher, "--questions", questions, "--out", out, "--concurrency", "2")
    finally:
        released.set()
    assert len(teacher.requests) == 2 and len(read(out)) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--teacher-model", "teacher-2"], "other teacher (model teacher-1, now teacher-2)"),
        (["--temperature", "0.5"], "other settings (temperature None, now 0.5)"),
        (["--max-tokens", "9"], "other settings (max_tokens None, now 9)"),
        (["--system", "Be kind."], "other settings (system None, now Be kind.)"),
    ],
)
def test_a_changed_setting_is_refused_before_anything_is_asked(
    teacher: FakeTeacher, questions: Path, out: Path, change: list[str], said: str
) -> None:
    Run(teacher, "--questions", questions, "--out", out, "--limit", "2")
    before = out.read_bytes()
    with pytest.raises(UserError) as caught:
        Run(teacher, "--questions", questions, "--out", out, *change)
    assert said in str(caught.value) and "choose another --out" in str(caught.value)
    assert out.read_bytes() == before and len(teacher.requests) == 2


def test_changed_questions_and_templates_are_refused(
    teacher: FakeTeacher, questions: Path, pictures: Path, out: Path
) -> None:
    Run(teacher, "--questions", questions, "--out", out)
    with pytest.raises(UserError, match=r"other template \(name plain, now five-questions"):
        Run(teacher, "--images", pictures, "--template", "five-questions", "--out", out)
    rows = read(questions)
    rows[1]["question"] = "Something else?"
    with pytest.raises(UserError, match=r"none of these questions' \(id '1'\)"):
        Run(teacher, "--questions", write(questions, rows), "--out", out)
    assert len(teacher.requests) == 4 and len(read(out)) == 4


def test_mistakes_are_told_before_anything_is_asked(
    teacher: FakeTeacher, questions: Path, pictures: Path, out: Path
) -> None:
    for arguments, said in [
        (("--out", out), "nothing to ask"),
        (("--questions", questions, "--out", out.with_suffix(".json")), "let its name end in .jsonl"),
        (("--questions", questions, "--question", "What?", "--out", out), "exclude each other"),
        (("--questions", questions, "--language", "German", "--out", out), "--template five-questions"),
        (("--questions", questions, "--teacher-url", "host", "--out", out), "no address of a web server"),
        (("--images", pictures, "--out", out), "nothing is asked about the pictures"),
    ]:
        with pytest.raises(UserError, match=said):
            Run(teacher, *arguments)
    assert not out.parent.exists() and not teacher.requests


@pytest.fixture
def environment(teacher: FakeTeacher) -> dict[str, str]:
    teacher.key = KEY
    return {**os.environ, "TEACHER_KEY": KEY}


def arguments(teacher: FakeTeacher, questions: Path, out: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "llava_tuning", "data", "distill", "--teacher-url", teacher.url]
    command += ["--questions", str(questions), "--out", str(out), "--api-key-variable", "TEACHER_KEY"]
    command += ["--teacher-model", teacher.name, *more]
    return command


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    teacher: FakeTeacher, environment: dict[str, str], questions: Path, out: Path
) -> None:
    teacher.fail(400, {"error": {"message": f"you sent {KEY}"}})
    teacher.answer = lambda question: f"Your key is {KEY}."
    command = arguments(teacher, questions, out)
    runs = [
        forked.run(command, capture_output=True, env=env, check=False)
        for env in (environment, environment, {**environment, "TEACHER_KEY": "no"})
    ]
    assert [run.returncode for run in runs] == [1, 0, 0]  # the last has nothing left to ask
    without = arguments(teacher, questions, out.with_name("other.jsonl"))
    runs.append(forked.run(without, capture_output=True, check=False))
    assert runs[-1].returncode == 2
    assert "set the environment variable TEACHER_KEY" in runs[-1].stderr
    assert len(read(out)) == 4
    written = "".join(file.read_text() for file in out.parent.iterdir())
    assert "Your key is [key]." in written and "you sent [key]" in written
    for text in (written, *(run.stdout + run.stderr for run in runs)):
        assert KEY not in text
        assert "Traceback" not in text


def test_ctrl_c_leaves_whole_records_and_the_same_command_continues(
    teacher: FakeTeacher, environment: dict[str, str], questions: Path, out: Path
) -> None:
    third, released = threading.Event(), threading.Event()

    def wait_at_the_third() -> None:
        if len(teacher.requests) == 3:
            third.set()
            released.wait(60)

    teacher.on_request = wait_at_the_third
    command = arguments(teacher, questions, out, "--concurrency", "1")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert third.wait(60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)  # although the teacher does not reply
    finally:
        released.set()
        process.kill()
    assert process.returncode == 130
    assert "the same command continues" in said and "Traceback" not in said
    assert [row["id"] for row in read(out)] == ["0", "1"]
    result = forked.run(command, capture_output=True, env=environment, check=False)
    assert result.returncode == 0 and "4 records, 2 of them new" in result.stdout
    assert teacher.asked == ["Question 0?", "Question 1?", "Question 2?", "Question 2?", "What?"]


def test_a_torn_last_line_is_asked_again(teacher: FakeTeacher, questions: Path, out: Path) -> None:
    Run(teacher, "--questions", questions, "--out", out, "--limit", "2")
    with out.open("a") as file:
        file.write('{"id": "2", "conv')  # as after a power cut
    assert Run(teacher, "--questions", questions, "--out", out).status == 0
    assert sorted(row["id"] for row in read(out)) == ["0", "1", "2", "p"]
    assert len(teacher.requests) == 4
