"""A browser for the tests of the page; the app that it opens is in `tests/conftest.py`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

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
    "--use-fake-device-for-media-stream",  # a camera that shows a moving shape
    "--use-fake-ui-for-media-stream",
]
FAILED = pytest.StashKey[bool]()  # of a test: what its page shows is printed then


@pytest.fixture(scope="module")  # Playwright holds the thread's event loop while it is open
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def open_page(app, browser, request):
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
        page.locator("#lt-box textarea").wait_for()
        return page

    yield open_page
    for context in contexts:
        if request.node.stash.get(FAILED, False) and context.pages:
            print(f"the page as it was:\n{context.pages[0].inner_text('body', timeout=5_000)}")
        context.close()


@pytest.fixture(scope="session")
def chat_page() -> type[ChatPage]:
    """What tests of other addresses than the app's own drive a page with."""
    return ChatPage


# Until FOUND, an expression of the messages of `all` kept conversations, is true; its value.
# It ends itself, because no timeout of Playwright's ends an evaluation.
_UNTIL_KEPT = """async (wanted) => {
    const open = indexedDB.open('llava-tuning');
    await new Promise((done) => { open.onsuccess = done; });
    const answers = (messages) => messages.filter(({ role }) => role === 'assistant');
    const end = Date.now() + 60000;
    for (;;) {
        const request = open.result.transaction('conversations').objectStore('conversations').getAll();
        await new Promise((done) => { request.onsuccess = done; });
        const all = request.result.map(({ messages }) => messages ?? []).filter(({ length }) => length);
        const found = FOUND;
        if (found) {
            open.result.close();
            return found;
        }
        if (Date.now() > end) throw new Error('is not kept: ' + JSON.stringify(request.result));
        await new Promise((done) => setTimeout(done, 50));
    }
}"""
_LENGTH_OF_A_PART = (
    "all.map((messages) => messages.at(-1)).filter(({ unfinished }) => unfinished)"
    ".map(({ content }) => content.length).find((length) => length > wanted)"
)
_SAME_VOTES = (
    "all.some((messages) => JSON.stringify(answers(messages).map(({ vote }) => vote ?? null))"
    " === JSON.stringify(wanted))"
)
_WHOLE = "all.length > 0 && all.every((messages) => !messages.at(-1).unfinished)"


class ChatPage:
    """The chat as a visitor uses it."""

    def __init__(self, page) -> None:
        self.page = page
        self.rows = page.locator("#lt-chat .message-row")
        self.questions = page.locator("#lt-chat .user.message")
        # The assistant's bubbles that hold words: one that is awaited has dots, and for a moment neither.
        waits = "#lt-chat .bot.message:not(:has(.lt-typing))"
        self.answers = page.locator(waits).filter(has_text=re.compile(r"\S"))
        self.pictures = page.locator("#lt-chat .user.message img")
        self.status = page.locator("#lt-status p")
        self.kept = page.locator(".lt-open")

    def ask(self, question: str) -> None:
        self.page.fill("#lt-box textarea", question)
        self.page.press("#lt-box textarea", "Enter")

    def attach(self, picture: Path) -> None:
        before = self.page.locator("#lt-box .thumbnail-item").count()
        self.page.set_input_files("#lt-box input[type=file]", picture)
        self.page.locator("#lt-box .thumbnail-item").nth(before).wait_for()

    def answer(self, number: int = 1) -> str:
        """Wait until an answer is written, and return it without what is below it."""
        self.answers.nth(number - 1).wait_for()
        self.page.locator("#lt-box .submit-button").wait_for()
        said = self.answers.nth(number - 1).locator(".prose")
        below = said.locator(".lt-below")
        return said.inner_text().removesuffix(below.inner_text() if below.count() else "").strip()

    def set(self, name: str, value: object) -> None:
        """Fill one of the settings."""
        field = f"#lt-{name} :is(input[type=number], textarea, input:not([type]), input[type=text])"
        self.page.locator(field).first.fill(str(value))
        self.page.locator(field).first.press("Tab")

    def press(self, name: str, number: int = 0) -> None:
        """Press a button below a message by its label."""
        self.page.locator("#lt-chat").get_by_role("button", name=name, exact=True).nth(number).click()

    def begin_anew(self) -> None:
        self.page.click("#lt-list .lt-fresh")
        self.page.locator("#lt-cards").wait_for()

    def wait_for_kept_part(self, longer_than: int = 0) -> int:
        """Until the browser keeps so many characters of an unfinished answer; how many there are."""
        return int(self.page.evaluate(_UNTIL_KEPT.replace("FOUND", _LENGTH_OF_A_PART), longer_than))

    def wait_until_whole(self) -> None:
        """Until the browser keeps all answers to their end: a moment after the page shows it."""
        self.page.evaluate(_UNTIL_KEPT.replace("FOUND", _WHOLE), None)

    def wait_for_kept_votes(self, *votes: str | None) -> None:
        """Until the browser keeps a conversation with these votes on its answers."""
        self.page.evaluate(_UNTIL_KEPT.replace("FOUND", _SAME_VOTES), votes)

    def wait_for_titles(self, *titles: str) -> None:
        """Until the list names these conversations, in this order: it is drawn a moment after an answer."""
        from playwright.sync_api import expect

        expect(self.kept).to_have_text(list(titles), timeout=60_000)

    def settle(self) -> None:
        """Let a growing answer, if one still grows, show it."""
        self.page.wait_for_timeout(1500)


@pytest.fixture
def feedback_folder(app) -> Path:
    """Where the running app says that it stores votes."""
    return Path(re.search(r"votes on answers go to (.+)", app.output)[1])


@pytest.fixture
def open_chat(open_page):
    """Opens the chat as a new visitor; keyword arguments as for `open_page`."""
    return lambda **options: ChatPage(open_page(**options))
