"""Models chosen in the chat, and where their answers looked: Chromium, real models, their real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


@pytest.fixture(scope="module")
def models(tmp_path_factory, text_model, default_model) -> Path:
    """A folder with a text model, one that sees, and one that is damaged."""
    models = tmp_path_factory.mktemp("models")
    (models / "words").symlink_to(text_model)
    (models / "twin").symlink_to(default_model)
    (models / "broken").mkdir()
    (models / "broken" / "config.json").write_text('{"model_type": "llama"}')
    (models / "broken" / "model.safetensors").write_text("no weights")
    (models / "broken" / "tokenizer.json").write_text("{}")
    return models


@pytest.fixture(scope="module")
def votes(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("votes")


@pytest.fixture(scope="module")
def app(start_app, models, votes):
    return start_app("--models", str(models), "--feedback", str(votes))


def choose(chat, name: str) -> None:
    chat.page.click("#lt-model input")
    chat.page.get_by_role("option", name=name, exact=True).click()


def chosen(chat, name: str) -> None:
    """Wait until this is the model on the page."""
    chat.page.wait_for_function("name => document.querySelector('#lt-model input')?.value === name", arg=name)


def names_below(chat) -> list[str]:
    return chat.page.locator("#lt-chat .lt-usage b").all_inner_texts()


def test_another_model_continues_the_conversation_and_each_answer_notes_its_own(open_chat, votes, tmp_path):
    chat = open_chat()
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answer()
    assert names_below(chat) == []  # all are the same
    choose(chat, "words")
    chat.ask("And which country is it in?")
    assert "France" in chat.answer(2)
    assert names_below(chat) == ["default", "words"]

    choose(chat, "default")
    chat.press("Like", 1)
    chat.wait_for_kept_votes(None, "up")  # the line that says so is cleared where the menu's event ends later
    vote = json.loads((votes / "feedback.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert vote["model"] == "words"  # which wrote it, not the one that is chosen now
    for kind in ("json", "markdown"):
        with chat.page.expect_download() as download:
            chat.page.click(f"#lt-{kind}")
        download.value.save_as(tmp_path / kind)
    messages = json.loads((tmp_path / "json").read_text(encoding="utf-8"))["messages"]
    assert [message.get("model") for message in messages] == [None, "default", None, "words"]
    text = (tmp_path / "markdown").read_text(encoding="utf-8")
    assert "## default" in text and "## words" in text


def test_a_text_model_has_no_camera_and_no_questions_about_pictures_until_one_that_sees_is_chosen(open_chat):
    chat = open_chat()
    choose(chat, "words")
    chat.page.get_by_text("This model reads text only.").wait_for()
    chat.page.locator("#lt-photo").wait_for(state="hidden")
    assert chat.page.locator("#lt-cards button:visible").count() == 3
    choose(chat, "twin")
    chat.page.locator("#lt-ask-shape").click()
    assert chat.answer() == "circle"
    assert chat.page.locator("#lt-photo").is_visible()


def test_a_conversation_with_pictures_is_not_continued_by_a_text_model(open_chat):
    chat = open_chat()
    chat.page.click("#lt-ask-shape")
    chat.answer()
    choose(chat, "words")
    told = chat.page.locator(
        "#lt-status p", has_text="This conversation has pictures, and words reads text only"
    )
    told.wait_for()
    chat.ask("What color is the shape?")
    chat.page.locator("#lt-status [role=alert]", has_text="choose a model that can see").wait_for()
    assert chat.page.input_value("#lt-box textarea") == "What color is the shape?"
    assert chat.rows.count() == 2
    choose(chat, "default")
    told.wait_for(state="detached")
    chat.page.press("#lt-box textarea", "Enter")
    assert chat.answer(2) == "red"


def test_a_model_that_is_exported_meanwhile_is_in_the_menu_and_chosen_with_the_keyboard(
    open_chat, models, text_model
):
    chat = open_chat()
    chat.page.locator("#lt-cards").wait_for()
    (models / "later").symlink_to(text_model)
    try:
        chat.page.focus("#lt-model input")
        chat.page.get_by_role("option", name="later").wait_for()
        for name in ("broken", "later"):
            chat.page.keyboard.press("ArrowDown")
            chat.page.locator("[role=option].active", has_text=name).wait_for()
        chat.page.keyboard.press("Enter")
        chat.page.get_by_text("This model reads text only.").wait_for()
        chat.ask("What is the capital of France?")
        assert "Paris" in chat.answer()
    finally:
        (models / "later").unlink()


def test_a_model_that_cannot_be_loaded_says_why_and_the_one_before_answers(open_chat):
    chat = open_chat()
    choose(chat, "broken")
    chat.page.locator(
        "#lt-status [role=alert]", has_text="model.safetensors: not readable as safetensors"
    ).wait_for()
    chosen(chat, "default")
    chat.page.click("#lt-ask-shape")
    assert chat.answer() == "circle"


def test_a_kept_conversation_comes_back_with_its_model(open_chat):
    chat = open_chat()
    choose(chat, "words")
    chat.page.get_by_text("This model reads text only.").wait_for()
    chat.ask("What is the capital of France?")
    chat.answer()
    chat.wait_until_whole()
    chat.page.reload()
    chosen(chat, "words")
    chat.begin_anew()
    chat.page.get_by_text("This model reads text only.").wait_for()
    choose(chat, "default")
    chat.page.locator("#lt-ask-shape").wait_for()
    chat.kept.first.click()
    chosen(chat, "words")
    assert "Paris" in chat.answer()


def test_where_an_answer_looked_is_shown_below_it_and_hidden_again(open_chat, tmp_path):
    chat = open_chat()
    button = chat.page.locator(".lt-look")
    chat.page.click("#lt-ask-france")
    chat.answer()
    assert button.count() == 0  # no picture, nothing to look at
    chat.begin_anew()
    chat.page.click("#lt-ask-shape")
    chat.answer()
    button.focus()
    chat.page.keyboard.press("Enter")
    shown = chat.page.locator(".lt-attention img")
    shown.wait_for()
    chat.page.wait_for_function("document.querySelector('.lt-attention img').naturalWidth === 384")
    assert "It shows what was weighed, not why" in chat.page.locator(".lt-attention").inner_text()
    colours = shown.evaluate(
        """(image) => {
            const canvas = Object.assign(document.createElement('canvas'), { width: 384, height: 384 });
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const pixels = context.getImageData(0, 0, 384, 384).data;
            let colourful = 0;
            for (let i = 0; i < pixels.length; i += 4) colourful += pixels[i] - pixels[i + 2] > 60;
            return colourful / (384 * 384);
        }"""
    )
    assert 0.01 < colours < 0.5  # warm somewhere, not everywhere
    with chat.page.expect_download() as download:
        chat.page.click("#lt-json")
    download.value.save_as(tmp_path / "conversation.json")
    answer = json.loads((tmp_path / "conversation.json").read_text(encoding="utf-8"))["messages"][1]
    assert answer["content"] == "circle"
    chat.page.get_by_role("button", name="Hide where it looked").click()
    shown.wait_for(state="detached")


def test_each_picture_is_shown_and_a_later_answer_keeps_what_is_open(open_chat):
    chat = open_chat(locale="zh-CN")
    chat.attach(SAMPLES / "red_circle.png")
    chat.attach(SAMPLES / "blue_triangle.png")
    chat.ask("What shape is in the image?")
    chat.answer()
    chat.page.get_by_role("button", name="它看了哪里").click()
    chat.page.locator(".lt-attention img").nth(1).wait_for()
    assert "并不说明原因" in chat.page.locator(".lt-attention").inner_text()
    chat.ask("What color is the shape?")
    chat.answers.nth(1).wait_for()
    chat.page.locator(".lt-look").nth(1).wait_for()  # the later answer is about the pictures as well
    assert chat.page.locator(".lt-attention img").count() == 2


def test_the_menu_is_there_on_a_phone_and_only_in_the_chat(open_chat):
    chat = open_chat(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    chat.page.tap("#lt-model input")
    for option in chat.page.get_by_role("option").all():
        box = option.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    chat.page.keyboard.press("Escape")
    title = chat.page.locator(".lt-header h1").bounding_box()
    menu = chat.page.locator("#lt-model").bounding_box()
    assert title["x"] + title["width"] <= menu["x"]
    chat.page.get_by_role("tab", name="Compare").click()
    chat.page.locator("#lt-model").wait_for(state="hidden")
