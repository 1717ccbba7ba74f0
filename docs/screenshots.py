"""Make the README's and the guides' screenshots from a running app.

    python -m app --port 7860 --runs work_dirs --models models &
    python docs/screenshots.py http://127.0.0.1:7860

Needs Playwright and Chromium; writes assets/screenshots/*.png. The page of runs needs runs in work_dirs, one
of text that was scored and one with pictures; the page that compares and the menu of models need a model in
models beside the app's own.
Pages that are named are taken alone: `python docs/screenshots.py URL compare runs`.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).resolve().parents[1] / "assets" / "screenshots"
CHROMIUM = "/usr/bin/chromium"
ANSWER_MS = 240_000
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
LOOKS = {
    "desk_light": (1280, 800, "light", "en-US"),
    "desk_dark": (1280, 800, "dark", "en-US"),
    "desk_zh": (1280, 800, "light", "zh-CN"),
    "phone_light": (390, 844, "light", "en-US"),
    "phone_dark": (390, 844, "dark", "en-US"),
}
SAMPLES = OUT.parent / "samples"
FIRST_SCREENS = {"desk_light": "web_first_desk", "phone_light": "web_first_phone"}


def ask(page: Page, question: str, answers: int) -> None:
    """Ask and wait until so many answers are there."""
    page.fill("#lt-box textarea", question)
    page.press("#lt-box textarea", "Enter")
    wait(page, answers)


def wait(page: Page, answers: int) -> None:
    """Until so many answers are there, and the last is written to its end."""
    page.locator("#lt-chat .bot.message").nth(answers - 1).wait_for(timeout=ANSWER_MS)
    page.locator("#lt-box .submit-button").wait_for(timeout=ANSWER_MS)


def first_screen(page: Page, url: str) -> None:
    """The chat before anything is asked."""
    page.goto(url)
    page.locator("#lt-cards").wait_for()
    page.wait_for_timeout(500)


def chat(page: Page, url: str) -> None:
    """A conversation in text, and then one about a sample picture."""
    first_screen(page, url)
    page.locator("#lt-ask-vegetables").click()
    wait(page, 1)
    page.locator(".lt-fresh:visible").first.click()
    page.locator("#lt-ask-shape").click()
    wait(page, 1)
    ask(page, "图中有三角形吗？", 2)
    page.locator("#lt-chat").get_by_role("button").last.click()
    page.locator("#lt-status p").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)


def attention(page: Page, url: str) -> None:
    """Where an answer about a sample picture looked."""
    page.goto(url)
    page.locator("#lt-ask-shape").click()
    wait(page, 1)
    page.locator(".lt-look").click()
    page.locator(".lt-attention img").wait_for()
    page.wait_for_timeout(1000)


def models(page: Page, url: str) -> None:
    """The menu of models, after two of them answered in one conversation."""
    page.goto(url)
    page.locator("#lt-ask-france").click()
    wait(page, 1)
    page.click("#lt-model input")
    page.get_by_role("option").last.click()
    ask(page, "And which country is it in?", 2)
    page.click("#lt-model input")
    page.get_by_role("option").first.wait_for()
    page.wait_for_timeout(500)


def compare(page: Page, url: str) -> None:
    """Ask the app's own model and the last one of the folder about a sample picture."""
    page.goto(url)
    open_tab(page, "Compare", "比较")
    page.set_input_files("#lt-compare-box input[type=file]", SAMPLES / "red_circle.png")
    page.locator("#lt-compare-box .thumbnail-item").wait_for()
    page.fill("#lt-compare-box textarea", "What shape is in the image?")
    page.press("#lt-compare-box textarea", "Enter")
    page.locator("[data-vote]").first.wait_for(timeout=ANSWER_MS)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)


def watch_runs(page: Page, url: str) -> None:
    """Look at the run that was written last."""
    page.goto(url)
    open_tab(page, "Runs", "训练")
    page.locator("#lt-chart-loss").wait_for()
    page.wait_for_timeout(1000)


def parts_of_runs(page: Page, url: str) -> None:
    """The scores and answers of the first run that has them, each as a picture of its own."""
    watch_runs(page, url)
    for part in ("scores", "answers"):
        for run in page.locator("[data-run]").all():
            run.click()
            page.wait_for_timeout(1000)
            section = page.locator(f"#lt-{part}")
            if section.count() and (part == "scores" or section.locator("img").count()):
                save(section.screenshot(), OUT / f"runs_{part}.png")
                break


def open_tab(page: Page, english: str, chinese: str) -> None:
    """Click a tab in the language that the page is in."""
    tab = page.get_by_role("tab", name=english, exact=True).or_(
        page.get_by_role("tab", name=chinese, exact=True)
    )
    tab.click()


def save(png: bytes, path: Path, exact: bool = False) -> None:
    """Write a picture with 256 colours: a page of plain areas loses nothing that one sees.

    Args:
        exact: keep all colours, as a heat map needs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if not exact:
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1024:.0f} kB")


PAGES = {"web": chat, "attention": attention, "models": models, "compare": compare, "runs": watch_runs}


def main(url: str, pages: list[str]) -> None:
    """All shots of the app at `url`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        for look, (width, height, scheme, locale) in LOOKS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale
            )
            for name in pages:
                page = context.new_page()
                if name == "web" and look in FIRST_SCREENS:
                    first_screen(page, url)
                    save(page.screenshot(), OUT / f"{FIRST_SCREENS[look]}.png")
                PAGES[name](page, url)
                save(page.screenshot(), OUT / f"{name}_{look}.png", exact=name == "attention")
                if (name, look) == ("runs", "desk_light"):
                    parts_of_runs(page, url)
                page.close()
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860", sys.argv[2:] or list(PAGES))
