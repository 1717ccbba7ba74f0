"""The page that compares two models, as visitors use it: Chromium, the embedded model and SmolLM2 itself."""

from __future__ import annotations

import csv
import json
import re
import urllib.request
from pathlib import Path

import pytest
from long_answers import LONG

ROOT = Path(__file__).parents[2]
CIRCLE = ROOT / "assets" / "samples" / "red_circle.png"
CAPITAL = "What is the capital of France?"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def votes_file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("votes") / "comparisons.jsonl"


@pytest.fixture(scope="module")
def app(start_app, default_model, text_model, votes_file, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / "before").symlink_to(text_model)
    (models / "twin").symlink_to(default_model)
    (models / "broken").mkdir()
    (models / "broken" / "config.json").write_text('{"model_type": "llama"}')
    (models / "broken" / "model.safetensors").write_text("no weights")
    (models / "broken" / "tokenizer.json").write_text("{}")
    return start_app("--models", str(models), "--feedback", str(votes_file.parent))


@pytest.fixture
def compare(open_page):
    """Opens the page that compares, on the embedded model and another one."""

    def compare(second: str = "before", **options):
        page = open_page(**options)
        tab = "比较" if options.get("locale") == "zh-CN" else "Compare"
        page.get_by_role("tab", name=tab, exact=True).click()
        choose(page, "#lt-second-model", second)
        return page

    return compare


def choose(page, menu: str, name: str) -> None:
    page.click(f"{menu} input")
    page.get_by_role("option", name=name, exact=True).click()


def ask(page, question: str) -> None:
    page.fill("#lt-compare-box textarea", question)
    page.press("#lt-compare-box textarea", "Enter")


def ask_for_long_answers(page) -> None:
    page.click("#lt-compare-settings button")
    page.fill("#lt-compare-length input[type=number]", "1024")
    page.press("#lt-compare-length input[type=number]", "Tab")
    ask(page, LONG)


def answer(page, side: str, number: int = 1) -> str:
    """A side's answer, once both are there: the button that sends comes back after both, not before."""
    waits = f"#lt-chat-{side} .bot.message:not(:has(.lt-typing))"  # for a moment without words, too
    bubble = page.locator(waits).filter(has_text=re.compile(r"\S")).nth(number - 1)
    bubble.wait_for()
    page.locator("#lt-compare-box .submit-button").wait_for()
    return bubble.inner_text()


def test_one_question_gets_two_answers_and_the_vote_is_kept(compare, votes_file):
    page = compare()
    ask(page, CAPITAL)
    page.locator("[data-vote]").first.wait_for()
    answers = [answer(page, side) for side in "ab"]
    assert all("Paris" in text for text in answers)
    assert page.locator("#lt-head-a b").inner_text() == "default"
    assert page.locator("#lt-head-b b").inner_text() == "before"
    aside = votes_file.with_suffix(".aside")
    if votes_file.exists():
        votes_file.rename(aside)
    votes_file.mkdir()  # so that no vote can be kept
    page.get_by_role("button", name="B is better").click()
    page.locator("#lt-compare-status p", has_text="the vote cannot be kept").wait_for()
    assert page.locator("[data-vote]").count() == 4 and page.locator(".lt-voted").count() == 0
    votes_file.rmdir()
    if aside.exists():
        aside.rename(votes_file)
    page.get_by_role("button", name="B is better").dblclick()  # it was taken back, so it can be given again
    page.locator(".lt-voted", has_text="B is better").wait_for()
    assert page.locator("[data-vote]").count() == page.locator("#lt-compare-status p").count() == 0
    vote = json.loads(votes_file.read_text().splitlines()[-1])
    assert (vote["vote"], vote["blind"], vote["question"]) == ("right", False, CAPITAL)
    for side, model, text in zip(("left", "right"), ("default", "before"), answers, strict=True):
        assert vote[side]["model"] == model
        roles = [message["role"] for message in vote[side]["messages"]]
        assert roles == ["user", "assistant"] and vote[side]["messages"][1]["content"] == text.strip()
    ask(page, "And which country is it in?")  # each model knows its own conversation
    page.locator("[data-vote]").first.wait_for()
    assert all("France" in answer(page, side, 2) for side in "ab")


def test_blind_names_are_told_after_the_vote_alone(compare, votes_file):
    page = compare()
    page.check("#lt-blind input")
    ask(page, CAPITAL)
    page.locator("[data-vote]").first.wait_for()
    sides = page.locator(".lt-sides").inner_text()
    assert "before" not in sides and "default" not in sides
    page.locator("[data-vote=both_good]").focus()
    page.keyboard.press("Enter")
    page.locator("#lt-head-b b").wait_for()
    told = [page.locator(f"#lt-head-{side} b").inner_text() for side in "ab"]
    assert sorted(told) == ["before", "default"]
    vote = json.loads(votes_file.read_text().splitlines()[-1])
    assert vote["blind"] and vote["vote"] == "both_good"
    assert [vote["left"]["model"], vote["right"]["model"]] == told
    ask(page, "Name three vegetables.")  # another round, for which lots are drawn anew
    page.locator("[data-vote]").first.wait_for()
    assert page.locator(".lt-side-head b").count() == 0
    assert page.locator("#lt-chat-a .user.message").count() == 1


def hold(page) -> list:
    """Requests of choices and buttons, which wait in this list as they would on a slow network."""
    held: list = []
    page.route("**/gradio_api/run/**", lambda route: held.append(route))
    return held


def let_go(page, held: list) -> None:
    with page.expect_response("**/gradio_api/run/**"):
        while held:
            held.pop(0).continue_()


def blind_twice(page) -> None:
    page.check("#lt-blind input")
    page.uncheck("#lt-blind input")


def other_and_back(page) -> None:
    choose(page, "#lt-second-model", "twin")
    choose(page, "#lt-second-model", "before")


def press_new(page) -> None:
    page.click("#lt-compare-clear")


@pytest.mark.parametrize("begin", [blind_twice, other_and_back, press_new])
def test_a_question_asked_before_a_choice_arrives_is_answered(compare, begin):
    page = compare()
    ask(page, "Name three vegetables.")
    page.locator("[data-vote]").first.wait_for()
    held = hold(page)
    begin(page)
    ask(page, CAPITAL)
    for side in "ab":
        bubble = page.locator(f"#lt-chat-{side} .bot.message").first
        bubble.filter(has_text="capital").wait_for()
        assert page.locator(f"#lt-chat-{side} .user.message").count() == 1  # another comparison
    let_go(page, held)
    page.locator("[data-vote]").first.wait_for()
    assert all("Paris" in answer(page, side) for side in "ab")
    assert [page.locator(f"#lt-head-{side} b").inner_text() for side in "ab"] == ["default", "before"]


@pytest.mark.parametrize("begin", [press_new, lambda page: page.check("#lt-blind input"), other_and_back])
def test_what_is_cleared_while_it_is_written_does_not_come_back(compare, app, begin):
    page = compare()
    ask_for_long_answers(page)
    page.locator("#lt-chat-a .bot.message:not(:has(.lt-typing))").wait_for()
    begin(page)
    page.fill("#lt-compare-box textarea", "typed meanwhile")
    app.wait_for_questions(0)
    page.locator("#lt-compare-box .submit-button").wait_for()
    page.wait_for_timeout(500)  # what the stream may say last
    assert page.locator("#lt-chat-a .message, #lt-chat-b .message, .lt-side-head b").count() == 0
    assert page.input_value("#lt-compare-box textarea") == "typed meanwhile"


def ask_about_circle(page) -> None:
    page.set_input_files("#lt-compare-box input[type=file]", CIRCLE)
    page.locator("#lt-compare-box .thumbnail-item").wait_for()
    ask(page, "What shape is in the image?")


def test_a_picture_goes_to_both(compare):
    page = compare("twin")
    ask_about_circle(page)
    assert all("circle" in answer(page, side) for side in "ab")
    assert page.locator("#lt-chat-b .user.message img").count() == 1
    choose(page, "#lt-second-model", "before")  # another pair, another comparison
    page.locator("#lt-chat-a .message").first.wait_for(state="detached")


def test_who_cannot_see_says_so(compare):
    page = compare()
    ask_about_circle(page)
    assert "takes no pictures" in answer(page, "b")
    assert "circle" in answer(page, "a")
    assert page.locator("[data-vote]").count() == 0


def test_stop_ends_both_answers(compare, app):
    page = compare("twin")
    ask_for_long_answers(page)
    for side in "ab":
        page.locator(f"#lt-chat-{side} .bot.message:not(:has(.lt-typing))").wait_for()
    page.click("#lt-compare-box .stop-button")
    page.locator("#lt-compare-status p", has_text="Stopped.").wait_for()
    app.wait_for_questions(0)
    ask(page, CAPITAL)  # both models have time for the next one
    page.locator("[data-vote]").first.wait_for()
    assert all("Paris" in answer(page, side, 2) for side in "ab")


def test_a_question_right_after_a_stop_is_answered(compare):
    page = compare("twin")
    ask(page, LONG)
    for side in "ab":
        page.locator(f"#lt-chat-{side} .bot.message:not(:has(.lt-typing))").wait_for()
    page.click("#lt-compare-box .stop-button")
    ask(page, CAPITAL)
    page.locator("[data-vote]").first.wait_for()
    assert all("Paris" in answer(page, side, 2) for side in "ab")


def test_leaving_stops_both_models(compare, app):
    page = compare()
    ask_for_long_answers(page)
    page.locator("#lt-chat-a .bot.message:not(:has(.lt-typing))").wait_for()
    page.context.close()
    app.wait_for_questions(0)


def test_leaving_ends_a_file_of_questions(compare, app, tmp_path):
    rows = [json.dumps({"question": f"{LONG} Number {number}."}) for number in range(20)]
    (tmp_path / "stories.jsonl").write_text("\n".join(rows) + "\n")
    page = compare()
    page.get_by_role("tab", name="A file of questions").click()
    page.set_input_files("#lt-batch-file input[type=file]", tmp_path / "stories.jsonl")
    page.locator("#lt-batch-file", has_text="stories").wait_for()
    page.click("#lt-batch-run")
    row = page.locator("#lt-batch-table tbody tr").first
    row.locator("td").nth(1).filter(has_text=re.compile("[a-z]")).wait_for()  # it grows while it is written
    row.locator("td").nth(2).filter(has_text=re.compile("[a-z]")).wait_for()
    app.wait_for_questions(1)
    page.context.close()
    app.wait_for_questions(0)


def test_what_cannot_be_compared_is_said(compare):
    page = compare("default")
    ask(page, CAPITAL)
    page.locator("#lt-compare-status p", has_text="Choose two different models.").wait_for()
    assert page.input_value("#lt-compare-box textarea") == CAPITAL
    choose(page, "#lt-second-model", "broken")
    page.press("#lt-compare-box textarea", "Enter")
    assert "not readable as safetensors" in answer(page, "b")
    assert "Paris" in answer(page, "a")
    page.locator("#lt-compare-status p", has_text="One side has no answer, so there is no vote").wait_for()


def test_a_file_of_questions_comes_back_as_a_table_and_csv(compare, tmp_path):
    rows = ["id,image,question", f"1,,{CAPITAL}", "2,some/red_circle.png,What shape is in the image?"]
    rows.append("3,/etc/passwd,What is it?")
    (tmp_path / "questions.csv").write_text("\n".join(rows) + "\n")
    page = compare("twin")
    page.get_by_role("tab", name="A file of questions").click()
    page.set_input_files("#lt-batch-file input[type=file]", tmp_path / "questions.csv")
    page.set_input_files("#lt-batch-pictures input[type=file]", CIRCLE)
    page.locator("#lt-batch-pictures", has_text="red_circle").wait_for()
    page.click("#lt-batch-run")
    page.locator("#lt-batch-download").wait_for()
    table = page.locator("#lt-batch-table tbody tr")
    assert "Paris" in table.nth(0).inner_text() and "circle" in table.nth(1).inner_text().lower()
    assert "passwd was not uploaded" in table.nth(2).inner_text()
    with page.expect_download() as download:
        page.click("#lt-batch-download")
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == ["1", "2", "3"]
    assert "Paris" in found[0]["default"] and "Paris" in found[0]["twin"]
    assert found[2]["default"] == "" and "was not uploaded" in found[2]["error of default"]


def test_a_broken_file_of_questions_is_named(compare, tmp_path):
    page = compare()
    page.get_by_role("tab", name="A file of questions").click()
    page.click("#lt-batch-run")
    page.locator("#lt-batch-status p", has_text="Add a file of questions first.").wait_for()
    (tmp_path / "mine.jsonl").write_text('{"question": "What?"}\n{"text": "no question"}\n')
    page.set_input_files("#lt-batch-file input[type=file]", tmp_path / "mine.jsonl")
    page.locator("#lt-batch-file", has_text="mine").wait_for()
    page.click("#lt-batch-run")
    page.locator("#lt-batch-status p", has_text="mine.jsonl: row 2: the field 'question'").wait_for()


def forge(app, api: dict, data: list, event_data=None) -> str:
    """What the server says to an event that no page sent."""
    body = {"data": data, "fn_index": api["id"], "session_hash": "forged", "event_data": event_data}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{app.url}/gradio_api/queue/join", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request).read()
    said = ""
    with urllib.request.urlopen(f"{app.url}/gradio_api/queue/data?session_hash=forged", timeout=60) as stream:
        for line in stream:
            said += line.decode()
            if "process_completed" in said or "close_stream" in said:
                return said
    return said


def dependency(app, of: str) -> dict:
    """The event whose first input is the component with this id."""
    config = json.load(urllib.request.urlopen(f"{app.url}/config"))
    ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    return next(event for event in config["dependencies"] if event["inputs"][:1] == [ids[of]])


@pytest.mark.parametrize("name", ["/etc", "../before", "broken/../before", ["before"], None])
def test_a_request_cannot_name_a_path_as_model(app, name):
    box = {"text": "Hello", "files": []}
    said = forge(app, dependency(app, "lt-compare-box"), [box, "default", name, False, 8, 0, 0])
    assert "there is no model" in said or '"success":false' in said.replace(" ", "")
    assert "is loaded" not in said


def test_a_request_cannot_name_a_file_of_the_machine(app):
    box = {"text": "What is it?", "files": [{"path": str(CIRCLE), "meta": {"_type": "gradio.FileData"}}]}
    said = forge(app, dependency(app, "lt-compare-box"), [box, "default", "before", False, 8, 0, 0])
    assert "not an uploaded file" in said
    file = {"path": str(ROOT / "assets" / "demo" / "text.json")}
    said = forge(app, dependency(app, "lt-batch-file"), [file, None, "default", "before", 8, 0])
    assert "not an uploaded file" in said


@pytest.mark.parametrize(("length", "temperature"), [(None, 0), (8, None), ("x", 0), (8, [])])
def test_a_request_without_numbers_is_refused_with_a_sentence(app, length, temperature):
    box = {"text": "Hello", "files": []}
    data = [box, "default", "before", False, length, temperature, 0]
    assert "A setting is empty or no number" in forge(app, dependency(app, "lt-compare-box"), data)


@pytest.mark.parametrize("tab", ["One question", "A file of questions"])
def test_a_phone_needs_no_sideways_scrolling(compare, tab):
    page = compare(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.get_by_role("tab", name=tab).click()
    if tab == "One question":
        ask(page, CAPITAL)
        page.locator("[data-vote]").first.wait_for()
        box = page.locator("#lt-compare-box").bounding_box()
        assert box["y"] + box["height"] <= 844  # it stays in view
        last = page.locator("[data-vote]").last.bounding_box()
        assert last["y"] + last["height"] <= box["y"]  # above it
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_speaks_chinese(compare):
    page = compare(locale="zh-CN")
    ask(page, CAPITAL)
    page.get_by_role("button", name="A 更好").click()
    page.locator(".lt-voted", has_text="已保存投票：A 更好。").wait_for()
