"""Conversations that the browser keeps: reopened, continued, deleted, and saved to files."""

from __future__ import annotations

import json

import pytest
from long_answers import LONG
from votes import votes, wait_for_votes

from llava_tuning.data.convert import convert_file
from llava_tuning.data.load import load_records

pytestmark = pytest.mark.browser


@pytest.fixture
def chat(open_chat):
    """Two conversations, of which the first is about a picture and the second is open."""
    chat = open_chat()
    chat.page.click("#lt-ask-shape")
    assert chat.answer() == "circle"
    chat.begin_anew()
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answer()
    chat.kept.nth(1).wait_for()
    chat.wait_until_whole()
    return chat


def test_a_kept_conversation_is_reopened_and_the_next_question_continues_it(chat):
    chat.wait_for_titles("What is the capital of France?", "What shape is in the image?")
    chat.kept.nth(1).click()
    chat.pictures.first.wait_for()
    assert chat.answer() == "circle" and chat.rows.count() == 2
    assert chat.kept.nth(1).get_attribute("aria-current") == "true"
    chat.ask("What color is the shape?")
    assert chat.answer(2) == "red"
    chat.wait_for_titles("What shape is in the image?", "What is the capital of France?")


def test_loading_the_page_anew_opens_what_was_open(chat):
    chat.kept.nth(1).click()
    chat.pictures.first.wait_for()
    chat.page.reload()
    chat.pictures.first.wait_for()
    chat.ask("What color is the shape?")
    assert chat.answer(2) == "red"


def test_a_new_tab_begins_anew_and_has_the_same_list(chat):
    other = chat.page.context.new_page()
    other.goto(chat.page.url)
    other.locator(".lt-open").nth(1).wait_for()
    assert other.locator("#lt-chat .message-row").count() == 0
    other.locator(".lt-delete").nth(1).click()
    chat.kept.nth(1).wait_for(state="detached")  # in the first tab too
    assert chat.rows.count() == 2


def test_deleting_the_open_conversation_begins_a_new_one(chat):
    chat.kept.first.hover()
    chat.page.get_by_role("button", name="Delete “What is the capital of France?”").click()
    chat.page.locator("#lt-cards").wait_for()
    assert chat.rows.count() == 0
    chat.wait_for_titles("What shape is in the image?")
    chat.page.reload()
    chat.kept.first.wait_for()
    assert chat.kept.count() == 1 and chat.rows.count() == 0


@pytest.mark.parametrize(("number", "rows"), [(0, 2), (1, 2)])  # the open one, and another
def test_a_deletion_is_undone_with_the_keyboard(chat, number, rows):
    titles = chat.kept.all_inner_texts()
    chat.page.locator(".lt-delete").nth(number).focus()
    chat.page.keyboard.press("Enter")
    chat.page.locator(".lt-undo", has_text=f"Deleted “{titles[number]}”").wait_for()
    chat.kept.nth(1).wait_for(state="detached")
    if number == 0:
        chat.page.locator("#lt-cards").wait_for()
    chat.page.wait_for_function("document.activeElement.matches('.lt-take-back')")
    chat.page.keyboard.press("Enter")
    chat.rows.nth(rows - 1).wait_for()
    chat.kept.nth(1).wait_for()
    chat.wait_for_titles(*titles)
    chat.kept.nth(1).click()
    chat.pictures.first.wait_for()  # they come back with their pictures
    assert chat.answer() == "circle"


@pytest.mark.parametrize("way", ["back", "memory"])
def test_coming_back_to_the_page_shows_the_conversation(chat, way):
    if way == "back":
        chat.page.goto("about:blank")
        chat.page.go_back()
    else:  # the browser shows the page as it was, which the server has forgotten
        with chat.page.expect_navigation():
            chat.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    chat.rows.nth(1).wait_for()
    assert "Paris" in chat.answer()
    chat.ask("And which country is it in?")
    assert "France" in chat.answer(2)


@pytest.mark.parametrize("kind", ["json", "markdown"])
def test_saving_an_empty_conversation_says_that_there_is_nothing(open_chat, kind):
    chat = open_chat()
    assert not chat.status.count()
    chat.page.click(f"#lt-{kind}")
    chat.page.locator("#lt-status p", has_text="There is nothing to save yet").wait_for()
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answer()
    chat.status.wait_for(state="detached")


def test_an_answer_that_was_left_is_kept_as_far_as_it_was_written(chat):
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    chat.kept.nth(1).click()
    chat.pictures.first.wait_for()
    assert chat.answer() == "circle" and chat.rows.count() == 2
    chat.kept.filter(has_text="capital of France").click()
    chat.rows.nth(3).wait_for()
    assert "Paris" in chat.answer(1) and chat.answer(2)


def test_clicking_the_open_conversation_leaves_its_answer_alone(chat):
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    chat.kept.first.click()
    chat.page.click("#lt-box .stop-button")
    assert chat.answer(2) and chat.rows.count() == 4


def test_a_vote_that_the_page_hears_of_after_the_next_conversation_is_kept(chat, feedback_folder):
    """And the conversation can be opened again: answers of the server may overtake each other."""
    held, before = [], len(votes(feedback_folder))
    chat.page.route("**/queue/data*", lambda route: held.append(route))
    chat.press("Like")
    wait_for_votes(chat.page, feedback_folder, before + 1)
    chat.begin_anew()
    for route in held:
        route.continue_()
    chat.page.unroute("**/queue/data*")
    chat.wait_for_kept_votes("up")
    assert chat.rows.count() == 0
    chat.kept.first.click()
    assert "Paris" in chat.answer()


def test_what_there_is_of_an_answer_survives_that_the_page_is_loaded_anew(chat):
    chat.set("max-length", 2048)
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    for _ in range(2):  # also when it is kept anew
        chat.page.reload()
        chat.rows.nth(3).wait_for()
        assert LONG in chat.rows.nth(2).inner_text()
        assert "Not finished" in chat.page.locator("#lt-chat .lt-below").nth(1).inner_text()
        assert chat.answer(2)
    chat.set("max-length", 8)
    chat.press("Retry")
    chat.page.locator("#lt-chat .lt-usage", has_text="Not finished").wait_for(state="detached")
    chat.page.locator("#lt-chat .lt-usage", has_text="Tokens: 8 written").wait_for()


@pytest.fixture
def busy_model(open_chat):
    """Another visitor, whose long answer holds the model until the page is closed."""
    chat = open_chat()
    chat.set("max-length", 2048)
    chat.ask(LONG)
    chat.wait_for_kept_part(longer_than=20)  # of "1." a page shows no text
    return chat.page


def test_a_question_without_any_answer_says_so(chat, busy_model):
    chat.ask("And which country is it in?")
    chat.page.locator("#lt-status p", has_text="questions before yours: 1").wait_for()
    chat.page.reload()
    chat.page.locator("#lt-chat .lt-usage", has_text="Not finished").wait_for()
    assert chat.questions.nth(1).inner_text().strip() == "And which country is it in?"
    busy_model.close()
    chat.press("Retry")
    chat.page.locator("#lt-chat .lt-usage", has_text="Not finished").wait_for(state="detached")
    assert "France" in chat.answer(2)


def test_a_finished_answer_is_kept_until_there_are_words_of_another(chat, busy_model):
    chat.press("Retry")
    chat.page.locator("#lt-status p", has_text="questions before yours: 1").wait_for()
    chat.page.click("#lt-box .stop-button")
    chat.page.locator("#lt-status p", has_text="Stopped.").wait_for()
    assert "Paris" in chat.answer()
    chat.press("Retry")
    chat.page.locator("#lt-status p", has_text="questions before yours: 1").wait_for()
    chat.page.reload()
    chat.page.locator("#lt-chat .lt-usage", has_text="Tokens: 7 written").wait_for()
    assert "Paris" in chat.answer()


def test_a_vote_during_an_answer_leaves_its_question_with_the_browser(chat, feedback_folder):
    chat.set("max-length", 2048)
    chat.ask(LONG)
    part = chat.wait_for_kept_part()
    like = chat.page.locator("#lt-chat").get_by_role("button", name="Like", exact=True)
    assert like.count() == 1  # the growing answer has none yet
    like.click()
    chat.wait_for_kept_part(longer_than=part)
    chat.page.click("#lt-box .stop-button")
    assert chat.answer(2)
    chat.page.get_by_role("button", name="Liked", exact=True).wait_for()
    chat.wait_until_whole()
    chat.page.reload()
    chat.page.get_by_role("button", name="Liked", exact=True).wait_for()
    assert chat.questions.nth(1).inner_text().strip() == LONG
    last = (feedback_folder / "feedback.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["vote"] == "up" and "Paris" in json.loads(last)["messages"][-1]["content"]


def test_a_deletion_can_be_undone_until_the_next_question(chat):
    chat.page.locator(".lt-delete").nth(1).click()
    undo = chat.page.locator(".lt-take-back")
    undo.wait_for()
    chat.press("Like")
    chat.page.locator("#lt-status p", has_text="your vote is stored").wait_for()
    assert undo.count() == 1
    chat.ask("And which country is it in?")
    undo.wait_for(state="detached")
    assert "France" in chat.answer(2)


def test_undoing_the_only_question_takes_the_conversation_off_the_list(open_chat):
    chat = open_chat()
    chat.ask("What is the capital of France?")
    chat.answer()
    chat.kept.first.wait_for()
    chat.press("Undo")
    chat.kept.first.wait_for(state="detached")


def test_a_system_prompt_comes_back_with_its_conversation(open_chat):
    chat = open_chat()
    chat.set("system", "You are Momo.")
    chat.ask("Hello")
    chat.answer()
    chat.begin_anew()
    assert chat.page.input_value("#lt-system textarea") == "You are Momo."
    chat.set("system", "")
    chat.kept.first.click()
    chat.rows.first.wait_for()
    chat.page.wait_for_function("document.querySelector('#lt-system textarea').value === 'You are Momo.'")


def test_a_conversation_that_someone_damaged_is_told(chat):
    chat.page.evaluate(
        """async () => {
            const open = indexedDB.open('llava-tuning');
            await new Promise((done) => { open.onsuccess = done; });
            const store = open.result.transaction('pictures', 'readwrite').objectStore('pictures');
            store.clear();
            await new Promise((done) => { store.transaction.oncomplete = done; });
        }"""
    )
    chat.kept.nth(1).click()
    chat.page.locator("#lt-status p", has_text="data:image").wait_for()


def test_the_saved_json_holds_everything_and_becomes_a_training_record(chat, tmp_path):
    chat.kept.nth(1).click()
    chat.pictures.first.wait_for()
    with chat.page.expect_download() as download:
        chat.page.click("#lt-json")
    assert download.value.suggested_filename == "conversation.json"
    download.value.save_as(tmp_path / "conversation.json")
    messages = json.loads((tmp_path / "conversation.json").read_text(encoding="utf-8"))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    convert_file(tmp_path / "conversation.json", tmp_path / "records.json")
    (record,) = load_records(tmp_path / "records.json")
    assert record.conversations[0].value == "<image>\nWhat shape is in the image?"
    assert record.conversations[1].value == "circle"
    assert record.image and (tmp_path / record.image).is_file()


def test_the_saved_markdown_reads_well(chat, tmp_path):
    with chat.page.expect_download() as download:
        chat.page.click("#lt-markdown")
    download.value.save_as(tmp_path / "conversation.md")
    text = (tmp_path / "conversation.md").read_text(encoding="utf-8")
    assert text.startswith(
        "# What is the capital of France?\n\n## You\n\nWhat is the capital of France?\n\n## default"
    )
    assert "Paris" in text


def test_on_a_phone_the_list_is_a_drawer(open_chat):
    chat = open_chat(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    chat.page.tap("#lt-ask-shape")
    assert chat.answer() == "circle"
    assert not chat.kept.first.is_visible()
    chat.page.tap("[data-panel=lt-list]")
    chat.kept.first.wait_for()
    chat.page.wait_for_function("document.activeElement.closest('#lt-list') !== null")
    chat.page.keyboard.press("Escape")
    chat.kept.first.wait_for(state="hidden")
    chat.page.tap(".lt-bar .lt-fresh")
    chat.page.locator("#lt-cards").wait_for()
    chat.page.tap("[data-panel=lt-list]")
    chat.kept.first.tap()
    chat.pictures.first.wait_for()
    chat.kept.first.wait_for(state="hidden")
    chat.page.tap("[data-panel=lt-settings]")
    chat.page.locator("#lt-temperature").wait_for()
