"""Make the README's screenshots from a running app.

    python -m app --port 7860 &
    python docs/screenshots.py http://127.0.0.1:7860

Needs Playwright and Chromium; writes assets/screenshots/*.png.
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
SHOTS = {
    "web_desk_light": (1280, 800, "light", "en-US"),
    "web_desk_dark": (1280, 800, "dark", "en-US"),
    "web_desk_zh": (1280, 800, "light", "zh-CN"),
    "web_phone_light": (390, 844, "light", "en-US"),
    "web_phone_dark": (390, 844, "dark", "en-US"),
}
FIRST_SCREENS = {"web_desk_light": "web_first_desk", "web_phone_light": "web_first_phone"}


def ask(page: Page, question: str, answers: int) -> None:
    """Ask and wait until so many answers are there."""
    page.fill("#lt-box textarea", question)
    page.press("#lt-box textarea", "Enter")
    wait(page, answers)


def wait(page: Page, answers: int) -> None:
    """Until so many answers are there, and the last is written to its end."""
    page.locator("#lt-chat .bot.message").nth(answers - 1).wait_for(timeout=ANSWER_MS)
    page.locator("#lt-box .submit-button").wait_for(timeout=ANSWER_MS)


def talk(page: Page) -> None:
    """A conversation in text, and then one about a sample picture."""
    page.locator("#lt-ask-vegetables").click()
    wait(page, 1)
    page.locator(".lt-fresh:visible").first.click()
    page.locator("#lt-ask-shape").click()
    wait(page, 1)
    ask(page, "What color is the shape?", 2)
    page.locator("#lt-chat").get_by_role("button").last.click()
    page.locator("#lt-status p").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)


def save(png: bytes, path: Path) -> None:
    """Write a picture with 256 colours: a page of plain areas loses nothing that one sees."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1024:.0f} kB")


def main(url: str) -> None:
    """All shots of the app at `url`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        for name, (width, height, scheme, locale) in SHOTS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale
            )
            page = context.new_page()
            page.goto(url)
            page.locator("#lt-cards").wait_for()
            page.wait_for_timeout(500)
            if name in FIRST_SCREENS:
                save(page.screenshot(), OUT / f"{FIRST_SCREENS[name]}.png")
            talk(page)
            save(page.screenshot(), OUT / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
