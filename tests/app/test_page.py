"""The page as visitors use it: a real browser against the app on the embedded model."""

from __future__ import annotations

import re
from urllib.parse import urlparse

import pytest
from PIL import Image

pytestmark = pytest.mark.browser
STORY = "Write a long story about a lighthouse keeper."


def ask(page, question: str, tab: str = "text") -> None:
    page.fill(f"#lt-{tab}-box textarea", question)
    page.press(f"#lt-{tab}-box textarea", "Enter")


def limit_length(page, tokens: int) -> None:
    page.fill("#lt-max-length input[type=number]", str(tokens))
    page.press("#lt-max-length input[type=number]", "Tab")


def answers(page, tab: str = "text"):
    """The assistant's bubbles that hold words, not the dots of one that is awaited."""
    return page.locator(f"#lt-{tab}-chat .bot.message:not(:has(.lt-typing))")


def wait_for_answer(page, number: int = 1, tab: str = "text") -> str:
    answers(page, tab).nth(number - 1).wait_for()
    page.locator(f"#lt-{tab}-box .submit-button").wait_for()
    return answers(page, tab).nth(number - 1).inner_text()


def settle(page) -> None:
    """Let a growing answer, if one still grows, show it."""
    page.wait_for_timeout(1500)


def test_a_question_in_text_is_answered_and_the_next_one_follows_on(open_page):
    page = open_page()
    ask(page, "What is the capital of France?")
    assert "Paris" in wait_for_answer(page)
    assert page.input_value("#lt-text-box textarea") == ""
    page.locator("#lt-text-ideas").wait_for(state="hidden")  # the examples made room
    ask(page, "And which country is it in?")  # "it" is told by the answer before
    assert "France" in wait_for_answer(page, 2)
    page.click("#lt-text-clear")
    page.locator("#lt-text-chat .message").first.wait_for(state="detached")
    ask(page, "What is the capital of Italy?")
    assert "Rome" in wait_for_answer(page)


def test_an_example_question_is_asked_with_one_click(open_page):
    page = open_page()
    page.click("#lt-ask-france")
    assert "Paris" in wait_for_answer(page)
    assert "capital of France" in page.locator("#lt-text-chat .user.message").first.inner_text()


def test_settings_reach_the_model(open_page):
    page = open_page()
    limit_length(page, 8)
    ask(page, STORY)
    assert 0 < len(wait_for_answer(page).split()) <= 8  # a word is a token or more


def test_stop_ends_the_answer_and_keeps_what_there_is(open_page):
    page = open_page()
    limit_length(page, 2048)
    ask(page, STORY)
    answers(page).first.wait_for()
    page.click("#lt-text-box .stop-button")
    page.locator("#lt-text-status p", has_text="Stopped.").wait_for()
    text = wait_for_answer(page)
    assert text
    settle(page)
    assert answers(page).first.inner_text() == text
    # The model itself stopped: it has time for the next question.
    ask(page, "What is the capital of France?")
    wait_for_answer(page, 2)


def test_clear_stops_and_forgets(open_page):
    page = open_page()
    ask(page, STORY)
    answers(page).first.wait_for()
    page.click("#lt-text-clear")
    page.locator("#lt-text-chat .message").first.wait_for(state="detached")
    page.locator("#lt-text-ideas").wait_for()
    settle(page)
    assert page.locator("#lt-text-chat .message").count() == 0
    ask(page, "What is the capital of France?")
    assert "lighthouse" not in wait_for_answer(page).lower()


def test_an_uploaded_picture_is_asked_about(open_page, tmp_path):
    Image.new("RGB", (300, 120), "red").save(tmp_path / "wide.png")
    page = open_page()
    limit_length(page, 16)
    page.get_by_role("tab", name="Picture chat").click()
    page.set_input_files("#lt-picture input[type=file]", tmp_path / "wide.png")
    page.locator("#lt-picture img").wait_for()
    page.click("#lt-ask-colour")
    assert wait_for_answer(page, tab="picture")
    ask(page, "Is it dark?", "picture")
    assert wait_for_answer(page, 2, "picture")


def test_another_picture_starts_another_conversation(open_page):
    page = open_page()
    limit_length(page, 16)
    page.get_by_role("tab", name="Picture chat").click()
    page.locator("#lt-samples button").first.click()
    page.locator("#lt-picture img").wait_for()
    page.click("#lt-ask-shape")
    wait_for_answer(page, tab="picture")
    page.locator("#lt-samples button").nth(1).click()
    page.locator("#lt-picture-chat .message").first.wait_for(state="detached")


def test_a_picture_can_be_part_of_a_text_chat(open_page, tmp_path):
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    page = open_page()
    limit_length(page, 16)
    page.set_input_files("#lt-text-box input[type=file]", tmp_path / "blue.png")
    page.locator("#lt-text-box .thumbnail-item").wait_for()
    ask(page, "What color is it?")
    assert wait_for_answer(page)
    assert page.locator("#lt-text-chat .user.message img").count() == 1


def test_what_is_wrong_is_said_with_its_remedy(open_page, tmp_path):
    (tmp_path / "notes.png").write_text("no picture at all")
    page = open_page()
    page.get_by_role("tab", name="Picture chat").click()
    ask(page, "What is it?", "picture")
    page.locator("#lt-picture-status p", has_text="add a picture first").wait_for()
    assert page.input_value("#lt-picture-box textarea") == "What is it?"  # the question is not lost
    page.set_input_files("#lt-picture input[type=file]", tmp_path / "notes.png")
    page.locator("#lt-picture-status p", has_text=re.compile("notes.png: not a picture in PNG")).wait_for()


def test_typed_markup_stays_text(open_page):
    page = open_page()
    limit_length(page, 8)
    typed = "Say <image>, <b>bold</b>, <|im_end|> 2*3*4 # ![x](http://example.com/x.png) &lt; a_b_c $$x$$"
    ask(page, typed)
    wait_for_answer(page)
    assert page.locator("#lt-text-chat .user.message").first.inner_text().strip() == typed


def test_two_visitors_do_not_see_each_other_and_wait_in_line(open_page):
    first, second = open_page(), open_page()
    limit_length(first, 2048)
    ask(first, STORY)
    answers(first).first.wait_for()
    ask(second, "What is the capital of France?")
    second.locator("#lt-text-status p", has_text="questions before yours: 1").wait_for()
    first.context.close()  # leaving stops the model, and the line moves on
    assert "Paris" in wait_for_answer(second)
    assert "lighthouse" not in second.locator("#lt-text-chat").inner_text().lower()


def test_the_page_speaks_the_browsers_language(open_page):
    page = open_page(locale="zh-CN")
    assert page.get_by_role("tab", name="文字对话").count() == 1
    page.get_by_role("tab", name="图片对话").click()
    page.get_by_text("最大长度").wait_for()
    ask(page, "?", "picture")
    page.locator("#lt-picture-status p", has_text="请先选择示例").wait_for()


@pytest.mark.parametrize("tab", [0, 1], ids=["text", "picture"])
def test_a_phone_needs_no_sideways_scrolling(open_page, tab):
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.get_by_role("tab", name=("Text chat", "Picture chat")[tab]).click()
    page.locator(("#lt-text-chat", "#lt-picture-chat")[tab]).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator(("#lt-text-box", "#lt-picture-box")[tab]).bounding_box()
    assert box["y"] + box["height"] <= 844  # the question's box is on the first screen


def test_nothing_is_fetched_from_elsewhere(open_page, app):
    page = open_page()
    page.click("#lt-ask-france")
    wait_for_answer(page)
    page.get_by_role("tab", name="Picture chat").click()
    settle(page)
    hosts = {urlparse(url).netloc for url in page.requested if not url.startswith(("data:", "blob:"))}
    assert hosts == {f"127.0.0.1:{app.port}"}
