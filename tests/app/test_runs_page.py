"""The page of runs in Chromium, on a folder of files as runs write them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from PIL import Image

from llava_tuning.runs.files import hold
from llava_tuning.runs.scores import Goals, Scores

pytestmark = pytest.mark.browser
NASTY = "<img src=x onerror=alert(1)>${1+1}{{value}}"
HALF = "\ud800"  # of a character: JSON can hold it, UTF-8 cannot


def loss_row(step: int) -> str:
    row = {"step": step, "loss": 1 + math.exp(-step / 20), "lr": 1e-3, "samples": 4, "tokens": 500}
    return json.dumps({**row, "memory_gib": 1.5, "seconds": 0.5, "waited": 0.05}) + "\n"


def write_run(folder: Path, name: str, steps: int, total: int, stage: str = "finetune") -> Path:
    run = folder / name
    run.mkdir(parents=True)
    pictures = folder.parent / "pictures"
    config = f"stage = {stage!r}\ntrain_cfg = dict(max_iters={total})\nimage_folder = {str(pictures)!r}\n"
    (run / "config.py").write_text(config + "evaluation_images = ['red.png']\n")
    (run / "loss.jsonl").write_text("".join(loss_row(step) for step in range(1, steps + 1)))
    rows = [
        {
            "step": step,
            "image": "red.png",
            "question": "What is it?",
            "answer": f"answer {step} {NASTY}{HALF}",
        }
        for step in (0, steps)
    ]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "work_dirs"
    (folder.parent / "pictures").mkdir()
    Image.new("RGB", (200, 100), "red").save(folder.parent / "pictures" / "red.png")
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def app(start_app, default_model, folder):
    return start_app("--runs", str(folder), "--data", str(folder.parent / "pictures"))


@pytest.fixture
def runs(open_page, folder):
    """Opens the page of runs; the folder is empty before and after each test."""
    for path in folder.iterdir():
        shutil.rmtree(path)

    def runs(**options):
        page = open_page(**options)
        page.get_by_role("tab", name="训练" if options.get("locale") == "zh-CN" else "Runs").click()
        return page

    return runs


def test_a_run_that_begins_appears_and_its_curve_grows(runs, folder):
    page = runs()
    page.get_by_text("No runs yet").wait_for()
    run = write_run(folder, "mine", 3, 10)
    with (run / "loss.jsonl").open("a") as file:
        hold(file)
        page.locator(".lt-detail .lt-running").wait_for()
        page.locator(".lt-detail header", has_text="3 of 10 steps").wait_for()
        before = page.locator("#lt-chart-loss polyline").last.get_attribute("points")
        file.write("".join(loss_row(step) for step in range(4, 8)))
        file.flush()
        page.locator(".lt-detail header", has_text="7 of 10 steps").wait_for()
        after = page.locator("#lt-chart-loss polyline").last.get_attribute("points")
        assert len(after.split()) == len(before.split()) + 4
        page.locator(".lt-tiles", has_text="time left").wait_for()
    page.locator(".lt-detail .lt-interrupted").wait_for()  # its process ended


def test_numbers_answers_and_pictures_of_a_run_are_shown(runs, folder):
    write_run(folder, "mine", 20, 20)
    page = runs()
    tiles = page.locator(".lt-tiles")
    tiles.wait_for()
    said = tiles.inner_text().replace("\n", " ")
    for text in ("samples/s 8", "tokens/s 1,000", "1.5 GiB", "10.0%", "1e-3"):
        assert text in said
    for name in ("loss", "lr", "speed", "memory"):
        assert page.locator(f"#lt-chart-{name} svg").count() == 1
    grid = page.locator("#lt-answers tbody tr")
    assert (
        grid.nth(0).inner_text().split("\t")[1].strip() == f"answer 0 {NASTY}?"
    )  # and nothing of it is HTML
    assert grid.nth(1).locator("th").inner_text() == "20"
    picture = page.locator("#lt-answers thead img")
    assert picture.get_attribute("src").startswith("data:image/jpeg")
    assert picture.evaluate("image => image.naturalWidth") == 160
    assert page.locator("#lt-scores").count() == 0
    assert not [url for url in page.requested if "work_dirs" in url or "red.png" in url]


def test_another_run_is_looked_at_and_drawn_over_it(runs, folder):
    write_run(folder, "first", 20, 20)
    write_run(folder, "second", 30, 40, "pretrain")
    page = runs()
    page.locator(".lt-detail h2", has_text="second").wait_for()  # written last
    first = page.locator("[data-run=first]")
    first.focus()
    page.keyboard.press("Enter")
    page.locator(".lt-detail h2", has_text="first").wait_for()
    assert first.get_attribute("aria-pressed") == "true"
    assert page.locator("#lt-chart-loss .lt-line").count() == 1
    page.locator("[data-overlay=second]").click()
    page.locator("#lt-chart-loss li", has_text="second").wait_for()
    assert page.locator("#lt-chart-loss .lt-line").count() == 2
    page.locator("[data-overlay=second]").click()
    page.locator("#lt-chart-loss li", has_text="second").wait_for(state="detached")


def test_smoothing_changes_the_curve(runs, folder):
    write_run(folder, "mine", 20, 20)
    page = runs()
    line = page.locator("#lt-chart-loss .lt-line")
    line.wait_for()
    raw = page.locator("#lt-chart-loss .lt-faint").get_attribute("points")
    assert line.get_attribute("points") != raw
    page.fill("#lt-smoothing input[type=number]", "0")
    page.press("#lt-smoothing input[type=number]", "Tab")
    page.locator(f'#lt-chart-loss .lt-line[points="{raw}"]').wait_for()


def test_scores_say_which_checkpoint_was_chosen(runs, folder):
    run = write_run(folder, "momo", 20, 20, "sft")
    scores = [Scores(step, step, 20, 1, 10, 0, 10, -1.0, 9, 0.03, (0.0, 0.06)) for step in (0, 10, 20)]
    rows = [row.to_dict() for row in scores]
    (run / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = runs()
    page.locator("#lt-scores", has_text="None is chosen yet").wait_for()
    assert f"llava-tuning select {run}" in page.locator("#lt-scores code").inner_text()
    goals = Goals()
    choice = {"chosen": "iter_20.pth", "step": 20, "meets_goals": False, "goals": vars(goals), "scores": rows}
    (run / "selection.json").write_text(json.dumps(choice))
    page.locator("#lt-scores", has_text="iter_20.pth is the best balanced one").wait_for()
    chosen = page.locator("#lt-scores tr[data-chosen]")
    assert "20 / 20" in chosen.inner_text() and "100.0%" in chosen.inner_text()
    assert page.locator("#lt-scores .lt-area s").count() == 2  # marked in both charts


def test_what_cannot_be_read_is_said(runs, folder):
    run = write_run(folder, "mine", 3, 10)
    (run / "config.py").write_text("not a config (")
    (run / "samples.jsonl").unlink()
    (run / "samples.jsonl").symlink_to("/etc/passwd")
    page = runs()
    problems = page.locator(".lt-detail .lt-problem")
    problems.first.wait_for()
    said = " ".join(problems.all_inner_texts())
    assert "config.py is no config of a run" in said and "samples.jsonl is a link that leads out" in said
    assert "root:" not in page.content()


def test_a_page_out_of_view_asks_for_nothing(runs, folder):
    write_run(folder, "mine", 3, 10)
    page = runs()
    page.locator(".lt-tiles").wait_for()
    page.get_by_role("tab", name="Chat", exact=True).click()
    page.wait_for_timeout(2500)  # a tick that had begun comes to its end
    count = len(page.requested)
    page.wait_for_timeout(5000)
    assert len(page.requested) == count
    write_run(folder, "newer", 3, 10)
    page.get_by_role("tab", name="Runs").click()
    page.locator(".lt-detail h2", has_text="mine").wait_for()  # what one looks at stays
    page.locator("[data-run=newer]").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(runs, folder, scheme):
    write_run(folder, "a-run-with-a-name-that-is-longer-than-a-phone-is-wide-in-any-case", 20, 20)
    write_run(folder, "second", 20, 20)
    options = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page = runs(color_scheme=scheme, **options)
    page.locator(".lt-tiles").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_speaks_chinese(runs, folder):
    write_run(folder, "mine", 3, 3)
    page = runs(locale="zh-CN")
    page.locator(".lt-tiles", has_text="学习率").wait_for()
    page.locator(".lt-detail header", has_text="已完成").wait_for()
