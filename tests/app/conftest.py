"""A browser for the tests of the page; the app that it opens is in `tests/conftest.py`."""

from __future__ import annotations

import shutil

import pytest

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
def open_page(app, browser):
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
