"""The page as visitors use it: a real browser against the app on the embedded model."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlparse

import pytest
from long_answers import LONG
from PIL import Image

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


def test_a_question_in_text_is_answered_and_the_next_one_follows_on(open_chat):
    chat = open_chat()
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answer()
    assert chat.page.input_value("#lt-box textarea") == ""
    chat.page.locator("#lt-cards").wait_for(state="hidden")  # the examples made room
    chat.ask("And which country is it in?")  # "it" is told by the answer before
    assert "France" in chat.answer(2)
    chat.begin_anew()
    chat.ask("What is the capital of Italy?")
    assert "Rome" in chat.answer()


@pytest.mark.parametrize(
    ("card", "asked", "said", "pictures"),
    [
        ("#lt-ask-france", "capital of France", "Paris", 0),
        ("#lt-ask-shape", "shape", "circle", 1),
        ("#lt-ask-colour", "color", "blue", 1),
        ("#lt-ask-circle", "circle", "no", 1),
    ],
)
def test_an_example_is_asked_with_one_click(open_chat, card, asked, said, pictures):
    chat = open_chat()
    chat.page.click(card)
    assert said.lower() in chat.answer().lower()
    assert asked in chat.questions.first.inner_text()
    assert chat.pictures.count() == pictures


def test_pictures_are_part_of_the_conversation_and_remembered(open_chat):
    chat = open_chat()
    chat.attach(SAMPLES / "red_circle.png")
    chat.ask("What shape is in the image?")
    assert chat.answer() == "circle"
    chat.ask("What color is the shape?")
    assert chat.answer(2) == "red"
    chat.attach(SAMPLES / "blue_triangle.png")
    chat.ask("What color is the shape?")
    assert chat.answer(3)
    assert chat.pictures.count() == 2
    for picture in chat.pictures.all():
        assert picture.evaluate("image => image.naturalWidth") == 384


def test_several_pictures_belong_to_one_question(open_chat):
    chat = open_chat()
    chat.attach(SAMPLES / "red_circle.png")
    chat.attach(SAMPLES / "blue_triangle.png")
    chat.ask("What shape is in the image?")
    assert chat.answer()
    assert chat.questions.count() == 1 and chat.pictures.count() == 2


def test_a_picture_is_pasted_and_dropped(open_chat):
    chat = open_chat()
    bring = """async ([kind, url]) => {
        const file = new File([await (await fetch(url)).blob()], 'brought.png', { type: 'image/png' });
        const data = new DataTransfer();
        data.items.add(file);
        const field = document.querySelector('#lt-box textarea');
        field.dispatchEvent(kind === 'paste'
            ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true })
            : new DragEvent('drop', { dataTransfer: data, bubbles: true }));
    }"""
    chat.page.click("#lt-ask-shape")
    chat.answer()
    url = chat.pictures.first.get_attribute("src")
    for number, kind in enumerate(("paste", "drop"), 1):
        chat.page.evaluate(bring, [kind, url])
        chat.page.locator("#lt-box .thumbnail-item").nth(number - 1).wait_for()
    chat.ask("What color is the shape?")
    assert chat.answer(2).lower() == "red"
    assert chat.pictures.count() == 3


def test_a_photo_of_the_camera_is_asked_about(open_chat):
    chat = open_chat(permissions=["camera"], locale="zh-CN")
    chat.page.click("#lt-photo")
    chat.page.get_by_text("打开相机").click()
    chat.page.wait_for_function("document.querySelector('#lt-camera video')?.videoWidth > 0")
    chat.page.get_by_role("button", name="拍摄").click()
    chat.page.locator("#lt-box .thumbnail-item").wait_for()
    chat.page.locator("#lt-camera").wait_for(state="detached")
    chat.ask("What color is the shape?")
    assert chat.answer()
    assert chat.pictures.count() == 1
    assert chat.pictures.first.evaluate("image => image.naturalWidth") > 0


def test_stop_ends_the_answer_and_keeps_what_there_is(open_chat):
    chat = open_chat()
    chat.set("max-length", 2048)
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    chat.page.click("#lt-box .stop-button")
    chat.page.locator("#lt-status p", has_text="Stopped.").wait_for()
    text = chat.answer()
    assert text
    chat.settle()
    assert chat.answer() == text
    # The model itself stopped: it has time for the next question.
    chat.ask("What is the capital of France?")
    chat.answer(2)


def test_what_is_typed_while_an_answer_grows_stays(open_chat):
    chat = open_chat()
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)
    chat.page.locator("#lt-box textarea").press_sequentially("And what comes then?", delay=60)
    assert chat.page.locator("#lt-box .stop-button").is_visible()  # the answer still grew
    assert chat.page.input_value("#lt-box textarea") == "And what comes then?"
    chat.page.click("#lt-box .stop-button")
    chat.page.locator("#lt-box .submit-button").wait_for()
    assert chat.page.input_value("#lt-box textarea") == "And what comes then?"


def test_a_question_right_after_a_stop_is_answered(open_chat):
    chat = open_chat()
    chat.set("max-length", 2048)
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)
    chat.page.click("#lt-box .stop-button")
    chat.ask("What is the capital of France?")
    chat.answers.nth(1).filter(has_text="Paris").wait_for()
    assert chat.answers.count() == 2 and chat.page.input_value("#lt-box textarea") == ""


def test_a_new_conversation_stops_and_forgets(open_chat):
    chat = open_chat()
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    chat.begin_anew()
    chat.ask("What is the capital of France?")  # at once, while the other answer still ends
    assert "house" not in chat.answer().lower()
    assert chat.rows.count() == 2


def test_what_is_wrong_is_said_with_its_remedy(open_chat, tmp_path):
    (tmp_path / "notes.png").write_text("no picture at all")
    Image.new("P", (8001, 8001)).save(tmp_path / "huge.png")
    chat = open_chat()
    chat.page.press("#lt-box textarea", "Enter")
    chat.page.locator("#lt-status p", has_text="Type a question first").wait_for()
    for name, said in (("notes.png", "notes.png: not a picture in PNG"), ("huge.png", "make it smaller")):
        chat.attach(tmp_path / name)
        chat.ask("What is it?")
        chat.page.locator("#lt-status p", has_text=re.compile(said)).wait_for()
        assert chat.page.input_value("#lt-box textarea") == "What is it?"  # the question is not lost
        chat.page.locator("#lt-box .delete-button").click()


def test_a_file_that_is_too_large_is_told_before_it_is_sent(open_chat, tmp_path):
    (tmp_path / "large.png").write_bytes(b"0" * (20 * 2**20 + 1))
    chat = open_chat(locale="zh-CN")
    chat.page.set_input_files("#lt-box input[type=file]", tmp_path / "large.png")
    chat.page.locator("#lt-status p", has_text="large.png 超过 20 MB").wait_for()
    assert chat.page.locator("#lt-box .thumbnail-item").count() == 0
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answer()
    chat.status.wait_for(state="detached")


def test_an_app_that_is_gone_is_told_and_one_that_comes_back_continues(open_chat):
    chat = open_chat()
    chat.page.click("#lt-ask-shape")
    chat.answer()
    chat.page.context.set_offline(True)
    chat.ask("What color is the shape?")
    chat.page.locator("#lt-status p", has_text="The app cannot be reached").wait_for()
    chat.page.context.set_offline(False)
    chat.page.reload()
    chat.pictures.first.wait_for()
    chat.ask("What color is the shape?")
    assert chat.answer(2) == "red"


def test_typed_markup_stays_text(open_chat):
    chat = open_chat()
    chat.set("max-length", 8)
    typed = "Say <image>, <b>bold</b>, <|im_end|> 2*3*4 # ![x](http://example.com/x.png) &lt; a_b_c $$x$$"
    chat.ask(typed)
    chat.answer()
    assert chat.questions.first.inner_text().strip() == typed


def test_two_visitors_do_not_see_each_other_and_wait_in_line(open_chat):
    first, second = open_chat(), open_chat()
    first.set("max-length", 2048)
    first.ask(LONG)
    first.answers.first.wait_for()
    second.ask("What is the capital of France?")
    second.page.locator("#lt-status p", has_text="questions before yours: 1").wait_for()
    first.page.context.close()  # leaving stops the model, and the line moves on
    assert "Paris" in second.answer()
    assert "house" not in second.page.locator("body").inner_text()
    assert second.kept.all_inner_texts() == ["What is the capital of France?"]


def test_the_page_speaks_the_browsers_language(open_chat):
    chat = open_chat(locale="zh-CN")
    for words in ("想聊点什么？", "新对话", "拍照", "重复惩罚", "对话列表"):
        chat.page.get_by_text(words).first.wait_for()
    chat.page.press("#lt-box textarea", "Enter")
    chat.page.locator("#lt-status p", has_text="请先输入问题").wait_for()
    chat.page.get_by_role("button", name="图中是什么形状？").click()  # the embedded model sees in Chinese too
    assert "圆" in chat.answer()


def test_nothing_is_fetched_from_elsewhere(open_chat, app):
    chat = open_chat()
    chat.page.click("#lt-ask-shape")
    chat.answer()
    refused = """() => fetch('http://example.com/x').then(() => 'fetched', (error) => error.name)"""
    assert chat.page.evaluate(refused) == "TypeError"  # the content-security policy
    chat.settle()
    hosts = {urlparse(url).netloc for url in chat.page.requested if not url.startswith(("data:", "blob:"))}
    assert hosts <= {f"127.0.0.1:{app.port}", "example.com"}


def test_a_text_model_offers_no_pictures_and_says_so(text_app, browser):
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(text_app.url)
    page.get_by_text("This model reads text only.").wait_for()
    assert page.locator("#lt-cards button").count() == 3
    assert page.locator("#lt-cards img").count() == 0 and page.locator("#lt-photo:visible").count() == 0
    page.set_input_files("#lt-box input[type=file]", SAMPLES / "red_circle.png")
    page.locator("#lt-box .thumbnail-item").wait_for()
    page.fill("#lt-box textarea", "What is it?")
    page.press("#lt-box textarea", "Enter")
    page.locator("#lt-status p", has_text="remove the picture").wait_for()
    context.close()
