"""Two windows of one browser on the same conversation."""

from __future__ import annotations

import pytest
from long_answers import LONG

pytestmark = pytest.mark.browser
FRANCE = "What is the capital of France?"


@pytest.fixture
def windows(open_chat):
    """Both have the only conversation open, which has one answer."""
    first = open_chat()
    first.ask(FRANCE)
    assert "Paris" in first.answer()
    first.wait_until_whole()
    second = type(first)(first.page.context.new_page())
    second.page.goto(first.page.url)
    second.kept.first.click()
    second.rows.nth(1).wait_for()
    for window in (first, second):
        window.set("max-length", 2048)
    return first, second


def test_what_one_window_asks_is_shown_in_the_other_which_goes_on_with_it(windows):
    first, second = windows
    second.ask("And which country is it in?")
    assert "France" in second.answer(2)
    first.rows.nth(3).wait_for()  # without a click
    assert first.answer(2) == second.answer(2)
    first.ask("What is the capital of Italy?")
    assert first.answer(3)
    second.rows.nth(5).wait_for()
    assert first.kept.all_inner_texts() == [FRANCE]


def test_both_windows_asking_at_once_lose_no_turn_and_the_titles_tell_which_is_which(windows):
    first, second = windows
    second.ask(LONG)
    second.wait_for_kept_part()
    first.ask("And which country is it in?")
    first.page.locator("#lt-status p", has_text="questions before yours").wait_for()
    second.page.click("#lt-box .stop-button")
    first.page.locator("#lt-status p", has_text="Another window went on with this conversation").wait_for()
    assert first.answer(2) and second.answer(2)
    first.kept.nth(1).wait_for()
    assert sorted(first.kept.all_inner_texts()) == [f"(2) {FRANCE}", FRANCE]
    first.wait_until_whole()
    for window, asked in ((first, "And which country is it in?"), (second, LONG)):
        window.page.reload()
        window.rows.nth(3).wait_for()
        assert window.questions.nth(1).inner_text().strip() == asked
    first.ask("What is the capital of Italy?")
    assert first.answer(3)
    assert sorted(first.kept.all_inner_texts()) == [f"(2) {FRANCE}", FRANCE]


def test_a_thumb_joins_what_another_window_is_writing(windows):
    first, second = windows
    second.ask(LONG)
    part = second.wait_for_kept_part()
    first.press("Like")
    first.page.get_by_role("button", name="Liked", exact=True).wait_for()
    second.wait_for_kept_part(longer_than=part)
    second.page.click("#lt-box .stop-button")
    for window in windows:
        window.rows.nth(3).wait_for()
        assert window.answer(2)
        window.page.get_by_role("button", name="Liked", exact=True).wait_for()
        assert window.kept.all_inner_texts() == [FRANCE]


def test_a_conversation_deleted_while_another_window_answers_stays_deleted(windows):
    first, second = windows
    first.ask(LONG)
    first.wait_for_kept_part()
    second.page.locator(".lt-delete").click()
    first.page.locator("#lt-status p", has_text="was deleted in another window").wait_for()
    first.page.locator("#lt-cards").wait_for()
    second.kept.first.wait_for(state="detached")
    first.ask("What is the capital of Italy?")
    assert "Rome" in first.answer()
    second.kept.first.wait_for()
    assert second.kept.all_inner_texts() == ["What is the capital of Italy?"]

    second.page.locator(".lt-delete").click()
    first.page.locator("#lt-cards").wait_for()
    second.page.locator(".lt-take-back").click()  # and comes back where that is undone, without a click
    first.rows.nth(1).wait_for()
    first.page.locator("#lt-status p", has_text="was deleted").wait_for(state="detached")
    first.ask("And which country is it in?")
    assert first.answer(2)
    second.kept.first.click()
    second.rows.nth(3).wait_for()
    assert second.kept.count() == 1
