"""A folder of runs is read as far as it can be, and nothing outside of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.runs.files import hold
from llava_tuning.runs.folder import RunFolder
from llava_tuning.runs.pictures import SIDE, thumbnail
from llava_tuning.runs.run import Run, smooth
from llava_tuning.runs.scores import Scores

CONFIG = """
evaluation_images = [
    'a.png',
    '../secret.png',
    'link.png',
    'notes.png',
]
image_folder = {folder!r}
stage = 'finetune'
train_cfg = dict(max_iters=4, type='llava_tuning.training.loop.TokenMeanLoop')
computed = __import__('pathlib').Path({trap!r}).touch()
"""


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def losses(count: int) -> list[dict[str, Any]]:
    more = {"lr": 1e-3, "samples": 4, "tokens": 100, "memory_gib": 1.5, "seconds": 0.5, "waited": 0.1}
    return [{"step": step, "loss": 4.0 / step, **more} for step in range(1, count + 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`work_dirs/mine` beside pictures and a secret."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (600, 300), "red").save(pictures / "a.png")
    Image.new("RGB", (30, 30), "blue").save(tmp_path / "secret.png")
    (pictures / "link.png").symlink_to(tmp_path / "secret.png")
    (pictures / "notes.png").write_text("no picture")
    run = tmp_path / "work_dirs" / "mine"
    run.mkdir(parents=True)
    config = CONFIG.format(folder=str(pictures), trap=str(tmp_path / "trap"))
    (run / "config.py").write_text(config)
    write_rows(run / "loss.jsonl", losses(3))
    return tmp_path / "work_dirs"


def read(folder: Path, name: str = "mine") -> Run:
    return RunFolder(folder, folder.parent / "pictures").read(name)


def test_a_run_says_how_far_it_is(folder: Path, tmp_path: Path) -> None:
    run = read(folder)
    assert (run.stage, run.total_steps, run.state, run.problems) == ("finetune", 4, "interrupted", ())
    assert [step.step for step in run.steps] == [1, 2, 3]
    assert run.speed().samples == pytest.approx(8) and run.speed().tokens == pytest.approx(200)
    assert run.speed().waited == pytest.approx(0.2)
    assert not (tmp_path / "trap").exists()  # the config was read, not run
    write_rows(folder / "mine" / "loss.jsonl", losses(4))
    assert read(folder).state == "finished"


def test_a_run_is_running_while_its_process_holds_the_file(folder: Path) -> None:
    code = (
        "import sys; from llava_tuning.runs.files import hold\n"
        "file = open(sys.argv[1], 'a'); hold(file); print('holds', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "mine" / "loss.jsonl")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None and process.stdout.readline() == b"holds\n"
    assert read(folder).state == "running"
    process.kill()  # as when the machine's memory is full
    process.wait()
    assert read(folder).state == "interrupted"


def test_reading_changes_nothing(folder: Path) -> None:
    with (folder / "mine" / "loss.jsonl").open("a") as file:
        hold(file)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        for _ in range(3):
            read(folder)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_line_that_is_being_written_is_left_out_for_now(folder: Path) -> None:
    path = folder / "mine" / "loss.jsonl"
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
        file.flush()
        run = read(folder)
        assert [step.step for step in run.steps] == [1, 2, 3] and not run.problems
        file.write('ss": 0.5}\n')
    assert read(folder).last is not None and read(folder).last.step == 4  # type: ignore[union-attr]


def score(**changes: Any) -> dict[str, Any]:
    row = Scores(1, 1, 2, 0, 2, 0, 2, -1.0, 9).to_dict()
    return {**row, **{{"identity": "identity_questions"}.get(name, name): v for name, v in changes.items()}}


def test_rows_of_something_else_are_left_out_and_said(folder: Path) -> None:
    strange = [
        [1],
        7,
        None,
        {"step": 10**30, "loss": 1},
        {"step": 6, "loss": 10**400},
        {"step": "1", "loss": 1},
        {"step": -1, "loss": 1},
        {"step": 5, "loss": True},
    ]
    write_rows(folder / "mine" / "loss.jsonl", [*losses(2), *strange, {"step": 3, "loss": 1, "lr": "fast"}])
    write_rows(folder / "mine" / "samples.jsonl", [{"step": 1, "question": 3, "answer": "x"}])
    write_rows(
        folder / "mine" / "scores.jsonl",
        [{"step": 1, "recall": 1.0}, score(identity=0), score(recalled=10**400)],
    )
    (folder / "mine" / "selection.json").write_text('{"chosen": "iter_1.pth"}')
    run = read(folder)
    assert [step.step for step in run.steps] == [1, 2, 3] and run.steps[-1].lr is None
    assert run.answers == () and run.scores == () and run.choice is None
    assert set(run.problems) == {
        ("bad_rows", "loss.jsonl"),
        ("bad_rows", "samples.jsonl"),
        ("bad_scores", "scores.jsonl"),
        ("bad_scores", "selection.json"),
    }


@pytest.mark.parametrize("total", ["0x" + "f" * 5000, "True", "-3"])
def test_a_number_of_steps_that_is_none_is_left_out(folder: Path, total: str) -> None:
    text = f"stage = 'sft'\ntrain_cfg = dict(max_iters={total})\nimage_folder = '{'a' * 5000}'\n"
    (folder / "mine" / "config.py").write_text(text)
    run = read(folder)
    assert (run.total_steps, run.stage, run.image_folder) == (None, "sft", None)


@pytest.mark.parametrize("text", ["not python (", "stage = ", "\0", "x = " + "(" * 500, "print('hello')"])
def test_a_config_that_is_none_is_said(folder: Path, text: str) -> None:
    (folder / "mine" / "config.py").write_text(text)
    run = read(folder)
    assert run.problems == (("bad_config", "config.py"),) and run.total_steps is None and len(run.steps) == 3


def test_directories_without_a_run_are_not_listed(folder: Path) -> None:
    (folder / "notes").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "config.py").write_text("port = 80")
    (folder / "file.txt").touch()
    (folder / "begun").mkdir()
    (folder / "begun" / "config.py").write_text("stage = 'sft'")
    assert sorted(RunFolder(folder).names()) == ["begun", "mine"]
    assert read(folder, "begun").state == "waiting"


def test_links_that_lead_out_are_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (folder / "mine").rename(outside)
    (folder / "linked").symlink_to(outside)
    assert RunFolder(folder).names() == []
    (folder / "mine").mkdir()
    write_rows(folder / "mine" / "loss.jsonl", losses(1))
    (folder / "mine" / "samples.jsonl").symlink_to(outside / "loss.jsonl")
    (folder / "mine" / "config.py").symlink_to(outside / "config.py")
    run = read(folder)
    assert ("outside", "samples.jsonl") in run.problems and ("outside", "config.py") in run.problems
    assert run.stage is None and run.answers == ()
    (folder / "again").symlink_to(folder / "mine")  # stays inside
    assert "again" in RunFolder(folder).names()


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "mine" / "samples.jsonl")
    assert read(folder).answers == ()


@pytest.mark.parametrize("name", ["..", "mine/..", "/", "", "other"])
def test_only_names_of_runs_are_read(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="no such run"):
        read(folder, name)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"work_dirs: no such folder; .*--runs"):
        RunFolder(tmp_path / "work_dirs").names()


def test_pictures_are_shown_small_and_only_those_of_the_run(folder: Path) -> None:
    run = read(folder)
    small = thumbnail(run, "a.png")
    assert small is not None and small.startswith("data:image/jpeg;base64,")
    from llava_tuning.models.pictures import picture_from_data_url

    assert max(picture_from_data_url(small).size) == SIDE
    for name in ("../secret.png", "link.png", "notes.png", "b.png", "", "a.png/..", "\0", None):
        assert thumbnail(run, name) is None


def test_a_config_cannot_choose_which_folder_of_the_machine_is_shown(folder: Path, tmp_path: Path) -> None:
    assert thumbnail(RunFolder(folder).read("mine"), "a.png") is None  # nobody allowed the folder
    assert thumbnail(RunFolder(folder, tmp_path / "pictures").read("mine"), "a.png") is not None
    config = CONFIG.format(folder=str(tmp_path), trap=str(tmp_path / "trap")).replace("a.png", "secret.png")
    (folder / "mine" / "config.py").write_text(config)
    assert thumbnail(RunFolder(folder, tmp_path / "pictures").read("mine"), "secret.png") is None
    own = folder / "mine" / "images"  # within the run
    own.mkdir()
    Image.new("RGB", (30, 30), "blue").save(own / "a.png")
    (own / "link.png").symlink_to(tmp_path / "secret.png")
    config = CONFIG.format(folder=str(own), trap=str(tmp_path / "trap"))
    (folder / "mine" / "config.py").write_text(config)
    assert thumbnail(RunFolder(folder).read("mine"), "a.png") is not None
    assert thumbnail(RunFolder(folder).read("mine"), "link.png") is None


def test_an_average_starts_at_the_first_loss_and_passes_over_what_is_no_number() -> None:
    assert smooth([2.0, 2.0, float("nan"), 2.0], 0.9) == pytest.approx([2.0] * 4)
    assert smooth([1.0, 3.0], 0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 3) / 0.75])
    assert smooth([1.0, 3.0], 0.0) == [1.0, 3.0]


def test_the_guides_program_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "web.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    monkeypatch.chdir(folder.parent)
    exec(program, {})
    assert capsys.readouterr().out.startswith("mine interrupted 4 ")
