"""Settings reach the model, which is counted; the page works on a phone and with the keyboard alone."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.browser
FIELDS = ("temperature", "top-p", "max-length", "penalty", "seed")
POEM = "Write a poem about the sea."


def values(chat) -> list[str]:
    return [
        chat.page.input_value(
            f"#lt-{name} :is(input[type=number], textarea, input:not([type]), input[type=text])"
        )
        for name in FIELDS
    ]


def test_the_longest_answer_is_limited_and_its_tokens_are_counted(open_chat):
    chat = open_chat()
    chat.set("max-length", 8)
    chat.ask(POEM)
    assert 0 < len(chat.answer().split()) <= 8  # a word is a token or more
    counts = chat.page.locator("#lt-chat .lt-usage").inner_text()
    assert re.fullmatch(r"Tokens: 8 written, \d+ read · \d+ tokens/s", counts)


def test_a_seed_repeats_what_chance_would_not(open_chat):
    chat = open_chat()
    chat.set("temperature", 1.5)
    chat.set("top-p", 1)
    chat.set("max-length", 24)
    answers = []
    for seed in (7, 7, 8):
        chat.set("seed", seed)
        chat.ask(POEM)
        answers.append(chat.answer())
        chat.begin_anew()
    assert answers[0] == answers[1] != answers[2]


def test_the_system_prompt_and_the_penalty_change_the_answer(open_chat):
    chat = open_chat()
    chat.set("temperature", 0)
    chat.set("max-length", 24)
    said = []
    for name, value in (("max-length", 24), ("system", "You are a pirate called Momo."), ("penalty", 1.9)):
        chat.set(name, value)
        chat.ask("Tell me a short story about a fox.")
        said.append(chat.answer())
        chat.begin_anew()
    assert len(set(said)) == 3


def test_presets_fill_the_fields(open_chat):
    chat = open_chat()
    usual = values(chat)
    chat.set("seed", 3)
    chat.set("temperature", 1.2)
    chat.page.click("#lt-course")
    chat.page.wait_for_function("document.querySelector('#lt-max-length input').value === '2048'")
    assert values(chat) == ["0.1", "0.75", "2048", "1", ""]
    chat.page.click("#lt-reset")
    chat.page.wait_for_function("document.querySelector('#lt-max-length input').value === '512'")
    assert values(chat) == usual


@pytest.mark.parametrize(
    ("value", "said"), [("three", "is empty or no number"), ("9" * 30, "at most 18 digits")]
)
def test_a_setting_that_is_none_is_told(open_chat, value, said):
    chat = open_chat()
    chat.set("seed", value)
    chat.ask("Hello")
    chat.page.locator("#lt-status p", has_text=said).wait_for()
    assert chat.page.input_value("#lt-box textarea") == "Hello"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_to_ask(open_chat, scheme):
    chat = open_chat(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, color_scheme=scheme
    )
    for _ in range(2):
        assert chat.page.evaluate("document.documentElement.scrollWidth") <= 390
        box = chat.page.locator("#lt-box").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844  # the question's box is on the first screen
        chat.page.tap("#lt-ask-circle") if chat.rows.count() == 0 else None
        assert chat.answer().lower() == "no"


def focused(page) -> dict[str, str]:
    return page.evaluate(
        """() => {
            const element = document.activeElement;
            const around = element.closest('#lt-box') ?? element;
            const { outlineStyle, outlineWidth } = getComputedStyle(element);
            return {
                name: element.id || element.className + ' ' + (element.ariaLabel ?? '')
                    + ' ' + (element.closest('[id^=lt-]')?.id ?? ''),
                outline: outlineStyle === 'none' ? '' : outlineWidth,
                border: getComputedStyle(around).borderColor,
            };
        }"""
    )


def test_everything_is_reached_and_used_with_the_keyboard_alone(open_chat):
    page = (chat := open_chat()).page
    resting = page.locator("#lt-box").evaluate(
        "box => (document.activeElement.blur(), getComputedStyle(box).borderColor)"
    )
    page.locator("#lt-box textarea").focus()
    page.keyboard.type("What is the capital of France?")
    page.keyboard.press("Enter")
    assert "Paris" in chat.answer()
    page.locator("body").evaluate("() => document.activeElement.blur()")
    reached, shown = [], []
    for _ in range(80):
        page.keyboard.press("Tab")
        now = focused(page)
        if now["name"].strip() and reached.count(now["name"]) > 3:
            break
        reached.append(now["name"])
        shown.append(bool(now["outline"]) or now["border"] != resting)
    every = " | ".join(reached)
    for part in (
        "lt-fresh",
        "lt-open",
        "lt-delete",
        "lt-markdown",
        "lt-json",
        "Copy message",
        "Edit",
        "Retry",
        "Undo",
        "Like",
        "Dislike",
        "upload-button",
        "submit-button",
        "lt-photo",
        "lt-course",
        "lt-reset",
        "lt-system",
        "lt-temperature",
        "lt-top-p",
        "lt-max-length",
        "lt-penalty",
        "lt-seed",
    ):
        assert part in every, (part, reached)
    unseen = [name for name, seen in zip(reached, shown, strict=True) if not seen and "lt-" in name]
    assert not unseen
    # and used: a vote, and a conversation from the list
    chat.page.get_by_role("button", name="Like", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Liked").wait_for()
    page.locator(".lt-list .lt-fresh").focus()
    page.keyboard.press("Enter")
    page.locator("#lt-cards").wait_for()
    chat.kept.first.focus()
    page.keyboard.press("Enter")
    assert "Paris" in chat.answer()
