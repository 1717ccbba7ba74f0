"""One running app and one browser for all tests of the page."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    return find_port()


@dataclass
class RunningApp:
    """`python -m app` as a user starts it."""

    url: str
    port: int
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def follow(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)


@pytest.fixture(scope="session")
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    port = find_port()
    env = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "SSH_CONNECTION": "10.0.0.2 50000 10.0.0.1 22",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path_factory.mktemp("app")),
    }
    # LLAVA_TUNING_TEST_MODEL lets a developer try another model directory on the same page.
    model = os.environ.get("LLAVA_TUNING_TEST_MODEL", "default")
    if model == "default":
        request.getfixturevalue("default_model")  # assembled once, before the start is watched
    # Started elsewhere than in the project, as an installed command may be.
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "--port", str(port), "--model", model],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    running = RunningApp(f"http://127.0.0.1:{port}", port, process)
    threading.Thread(target=running.follow, daemon=True).start()
    try:
        deadline = time.monotonic() + 180
        while not re.search(r"ready: open", running.output):
            assert process.poll() is None and time.monotonic() < deadline, running.output
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")  # Playwright holds the thread's event loop while it is open
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(app: RunningApp, browser):
    """Opens the page as a new visitor; keyword arguments as for Playwright's `new_context`."""
    contexts = []

    def open_page(**options):
        context = browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 800}} | options
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.requested = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto(app.url)
        page.locator("#lt-text-box textarea").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
