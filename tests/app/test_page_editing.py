"""Retry, undo, edit and copy: the server's conversation changes, and the page shows it."""

from __future__ import annotations

import pytest
from long_answers import LONG

pytestmark = pytest.mark.browser
TYPED = "What color is the shape? *a_b* <c>"


@pytest.fixture
def chat(open_chat):
    """A conversation of two exchanges about a picture."""
    chat = open_chat(permissions=["clipboard-read", "clipboard-write"])
    chat.page.click("#lt-ask-shape")
    assert chat.answer() == "circle"
    chat.ask(TYPED)
    assert "red" in chat.answer(2)
    return chat


def test_retry_answers_the_last_question_anew(chat):
    chat.set("max-length", 8)
    chat.set("system", "Answer in French.")
    with chat.page.expect_response("**/queue/join*"):
        chat.press("Retry")
    assert "red" in chat.answer(2)
    assert chat.rows.count() == 4 and chat.pictures.count() == 1
    assert chat.questions.nth(1).inner_text().strip() == TYPED


def test_undo_takes_the_question_back_into_the_box_with_its_picture(chat):
    chat.press("Undo")
    chat.rows.nth(2).wait_for(state="detached")
    assert chat.page.input_value("#lt-box textarea") == TYPED
    chat.press("Undo")
    chat.rows.nth(0).wait_for(state="detached")
    assert chat.page.input_value("#lt-box textarea") == "What shape is in the image?"
    chat.page.locator("#lt-box .thumbnail-item").wait_for()
    chat.page.fill("#lt-box textarea", "What color is the shape?")
    chat.page.press("#lt-box textarea", "Enter")
    assert chat.answer().lower() == "red"
    chat.wait_until_whole()
    chat.page.reload()  # the browser still has the picture
    chat.pictures.first.wait_for()
    chat.ask("Is there a circle?")
    assert chat.answer(2) == "yes"


def test_an_edited_question_keeps_its_picture_and_drops_what_came_after(chat):
    chat.press("Edit", 1)
    assert chat.page.input_value(".edit-textarea") == TYPED  # what was typed, not how it is marked up
    chat.press("Cancel")
    chat.press("Edit", 0)
    chat.page.fill(".edit-textarea", "Is there a circle?")
    chat.press("Submit")
    chat.rows.nth(2).wait_for(state="detached")
    assert chat.answer().lower() == "yes"
    assert chat.rows.count() == 2 and chat.pictures.count() == 1
    chat.ask("What color is the shape?")  # what was dropped is forgotten, the picture is not
    assert chat.answer(2) == "red"


def test_what_is_copied_is_what_was_typed_and_written(chat):
    read = "() => navigator.clipboard.readText()"
    for number, text in ((2, TYPED), (1, "circle")):
        chat.press("Copy message", number)
        chat.page.wait_for_function(f"async (text) => (await ({read})()) === text", arg=text)


def test_nothing_is_edited_while_an_answer_is_written(open_chat):
    chat = open_chat()
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answer()
    chat.set("max-length", 2048)
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    assert chat.page.locator("#lt-chat").get_by_role("button", name="Edit").first.is_disabled()
    chat.page.click("#lt-box .stop-button")
    chat.answer(2)
    assert chat.questions.count() == 2
