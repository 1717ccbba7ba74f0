"""Written folders as their platforms run them: own environment and user, read-only, asked in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
PICTURE = Path(__file__).resolve().parents[2] / "assets" / "samples" / "red_circle.png"
pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module", params=["space", "openxlab"])
def folder(
    request: pytest.FixtureRequest, default_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return deploy(request.param, tmp_path_factory.mktemp(request.param) / request.param)


def deploy(platform: str, out: Path) -> Path:
    words = [sys.executable, "-m", "llava_tuning", "deploy", platform, "default", "--out", str(out)]
    subprocess.run(words, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def python(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clean environment with what the folder's requirements name, and nothing else."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    # PyTorch's own index is an addition: where it cannot be reached, its retries are waited for in vain.
    options = ["--quiet", "--disable-pip-version-check", "--retries", "0"]
    requirements = ["-r", folder / "requirements.txt"]
    done = subprocess.run(
        [python, "-m", "pip", "install", *options, *requirements], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    yield python
    shutil.rmtree(environment)  # several GB


@pytest.fixture
def start(
    python: Path, as_user: Callable[..., list[str]], find_free_port: Callable[[], int], tmp_path: Path
) -> Iterator[Callable[[Path], tuple[str, list[str]]]]:
    """Starts a folder by `python app.py` and waits until it can be used; gives its address and its lines."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> tuple[str, list[str]]:
        port, home = find_free_port(), tmp_path / "home"
        home.mkdir()
        words = [str(python), "app.py"]
        words = as_user(words, home)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "NO_PROXY") if name in os.environ}
        environment = kept | {
            "HOME": str(home),
            "TMPDIR": str(home),
            "HF_HUB_OFFLINE": "1",
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
        }
        if folder.name == "space":
            environment |= {"SYSTEM": "spaces", "SPACE_ID": "ada/momo"}
        process = subprocess.Popen(
            words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append(process)
        lines: list[str] = []
        assert process.stdout is not None
        reading = threading.Thread(target=lambda: lines.extend(process.stdout or []), daemon=True)
        reading.start()
        deadline = time.monotonic() + 180
        while not re.search("ready: open", "".join(lines)):
            assert process.poll() is None and time.monotonic() < deadline, "".join(lines)
            time.sleep(0.1)
        return f"http://127.0.0.1:{port}", lines

    yield start
    for process in started:
        process.terminate()
        process.wait(120)


def ask_in_a_browser(address: str, shot: Path) -> tuple[str, str, list[str]]:
    """The answer about a picture, the page's title and the names of its tabs."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(locale="en-US", viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.set_input_files("#lt-box input[type=file]", PICTURE)
        page.locator("#lt-box .thumbnail-item").wait_for()
        page.fill("#lt-box textarea", "What color is the shape?")
        page.press("#lt-box textarea", "Enter")
        answer = page.locator("#lt-chat .bot.message:not(:has(.lt-typing)) .prose").first
        answer.locator(".lt-below").wait_for()
        page.screenshot(path=shot)
        said = answer.inner_text().removesuffix(answer.locator(".lt-below").inner_text()).strip()
        tabs = page.locator(".lt-pages > .tab-wrapper [role=tab]").all_inner_texts()
        title = page.title()
        browser.close()
    return said, title, tabs


def test_the_folder_answers_about_a_picture_where_it_cannot_be_written(folder, start, list_files, tmp_path):
    before = {file: file.stat().st_mtime for file in list_files(folder)}
    address, lines = start(folder)
    said, title, tabs = ask_in_a_browser(address, tmp_path / "page.png")
    assert said.lower() == "red" and title == "LLaVA Tuning"
    assert [tab.strip() for tab in tabs] in (["Chat"], [])  # one model, and no runs to watch
    assert {file: file.stat().st_mtime for file in list_files(folder)} == before
    assert "Traceback" not in "".join(lines)
    with urllib.request.urlopen(f"{address}/health") as health:
        assert b'"model":"default"' in health.read()
