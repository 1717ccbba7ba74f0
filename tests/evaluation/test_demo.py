"""The bundled model's table: known models get known scores, runs go on, and nothing is left out silently."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from everyday_cases import write_everyday
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.data.everyday.limits import PHOTOGRAPH_ANSWERS
from llava_tuning.data.scene_text import captions
from llava_tuning.data.scenes import scene
from llava_tuning.errors import UserError
from llava_tuning.evaluation.contact_sheet import contact_sheet
from llava_tuning.evaluation.demo.drawn import things_named
from llava_tuning.evaluation.demo.plan import plan
from llava_tuning.evaluation.demo.result import BLANK, QUESTION_ONLY, SHUFFLED, Result
from llava_tuning.evaluation.demo.run import Report, evaluate_demo, failures
from llava_tuning.evaluation.demo.suite import Item, LeftOut, Prior, Suite, same_answer
from llava_tuning.evaluation.demo.table import demo_table, markdown_table
from llava_tuning.evaluation.scoring import OVERALL
from llava_tuning.inference.backend import ChatMessage, GenerationSettings
from llava_tuning.inference.loading import LoadedModel, load_model

LIMIT = 12


class Rule:
    """Answers by a rule in place of a model, so that scores are known beforehand."""

    name, sees, max_length, at_once = "rule", True, 8192, 1

    def __init__(self, rule: Callable[[str, Image.Image | None], str], stop_after: int | None = None) -> None:
        self._rule = rule
        self._left = stop_after
        self.asked = 0

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        if self._left is not None and self.asked >= self._left:
            raise KeyboardInterrupt
        self.asked += len(conversations)
        last = [messages[-1] for messages in conversations]
        return [self._rule(m.text, m.images[0] if m.images else None) for m in last]

    def stream(
        self,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
    ) -> Any:
        raise NotImplementedError

    def ready(self) -> bool:
        return True


class OtherTokenizer:
    """Has other tokens than SmolLM2's."""

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0, "b": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Everyday pictures, and a folder with a photograph."""
    photographs = tmp_path_factory.mktemp("photographs")
    for number in range(3):
        Image.effect_noise((80, 64), 60 + number).save(photographs / f"{number}.jpg")
    return write_everyday(tmp_path_factory.mktemp("everyday")), photographs


@pytest.fixture(scope="module")
def suites(folders: tuple[Path, Path]) -> list[Suite]:
    asked, left_out = plan(*folders, LIMIT, 0)
    assert left_out == []
    return asked


@pytest.fixture(scope="module")
def text_llm(text_model: Path) -> LoadedModel:
    return load_model(text_model)


@pytest.fixture(scope="module")
def oracle(suites: list[Suite]) -> Callable[[str, Image.Image | None], str]:
    """Knows the right answer to each question about each picture, and says nothing sensible of others."""
    right = {}
    for suite in suites:
        for item in suite.items:
            picture = item.picture.load().tobytes() if item.picture else None
            right[item.text, picture] = item.right
    return lambda text, picture: right.get((text, picture.tobytes() if picture else None), "?")


@pytest.fixture
def evaluated(
    suites: list[Suite], text_llm: LoadedModel, oracle: Callable[..., str]
) -> Callable[..., Report]:
    """Runs all suites; the text is compared only where a base is given, because that takes seconds."""

    def run(rule: Callable[..., str] = oracle, **options: Any) -> Report:
        backend = options.pop("backend", None) or Rule(rule)
        load_base = options.pop("load_base", lambda: LoadedModel(text_llm.model, OtherTokenizer(), None))
        given = {"limit": 2, "meta": {"model": "rule", "fingerprint": "1", "settings": {"seed": 0}}} | options
        return evaluate_demo(text_llm, backend, load_base, suites, [], **given)

    return run


@pytest.fixture(scope="module")
def by_name() -> Callable[[Report], dict[tuple[str, str], Result]]:
    return lambda report: {(r.suite.name, r.suite.language): r for r in report.results}


def test_one_who_knows_is_right_everywhere_and_blind_without_the_picture(
    evaluated: Callable[..., Report], by_name: Callable[..., Any], text_llm: LoadedModel, tmp_path: Path
) -> None:
    report = evaluated(out=tmp_path / "scores.json", load_base=lambda: text_llm)
    found = by_name(report)
    for key, result in found.items():
        assert result.scores[OVERALL].accuracy == 1.0, (key, result.wrong[:3])
        assert set(result.controls) == (
            {QUESTION_ONLY, BLANK, SHUFFLED} if result.suite.seen is not None else set()
        )
        if result.suite.seen is not None and result.suite.name != "absent things":
            assert result.controls[BLANK].accuracy < 0.2 and result.controls[SHUFFLED].accuracy < 0.5
    closed = {name for name, language in found if language == "zh"} - {"photographs", "open Chinese"}
    assert closed == {
        *("easy-VQA", "scenes", "scene captions", "names", "facts", "main colour", "existence"),
        *("absent things", "side by side"),
    }
    pope = found["existence", "en"].pope
    assert set(pope) == {OVERALL, "random", "popular", "adversarial"}
    assert (pope[OVERALL].precision, pope[OVERALL].recall, pope[OVERALL].yes_share) == (1.0, 1.0, 0.5)
    assert report.retention is not None and report.retention.loss == 0.0
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert written["created"] and written["libraries"]["torch"] and written["seed"] == 0
    assert len(written["suites"]) == len(found)
    console = Console(width=100, record=True)
    console.print(demo_table(report))
    text = console.export_text()
    for word in ("easy-VQA", "neighbour", "adversarial", "yes share", "wrongly declined", "text retention"):
        assert word in text
    assert f"({LIMIT})" in text
    markdown, about = markdown_table(report).split("\n\n")
    assert "of rule" in about and "at most 2 questions of each" in about
    table = [line.strip("|").split("|") for line in markdown.splitlines()]
    assert {len(cells) for cells in table} == {6}
    cells_of = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in table}
    total = len(found["names", "en"].suite.items)
    assert cells_of["**names**"][0].startswith("100.0% (") and f"; {total})" in cells_of["**names**"][0]
    assert cells_of["**names**"][2] == f"{found['names', 'en'].controls[BLANK].accuracy:.1%}"
    assert cells_of["**open Chinese**"][0] == "" and cells_of["**open Chinese**"][4].startswith("100.0%")
    assert cells_of["yes share"][0] == "50.0%"
    assert cells_of["**text retention: likelihood lost**"][0].startswith("+0.0% (")


def test_one_who_always_says_yes_is_found_out(
    evaluated: Callable[..., Report], by_name: Callable[..., Any], tmp_path: Path
) -> None:
    report = evaluated(lambda text, picture: "yes")
    found = by_name(report)
    pope = found["existence", "en"].pope[OVERALL]
    assert (pope.precision, pope.recall, pope.yes_share) == (0.5, 1.0, 1.0)
    cards = failures(report, 16)
    assert len(cards) == 16 and len({card.item.kind for card in cards}) > 5
    contact_sheet(cards, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 600
    assert found["photographs", "en"].scores[OVERALL].accuracy == 0
    assert found["absent things", "en"].scores["absent"].accuracy == 0
    assert found["facts", "en"].controls[BLANK].accuracy == found["facts", "en"].scores[OVERALL].accuracy
    assert found["open Chinese", "zh"].wrong and found["no picture talk", "en"].scores[OVERALL].accuracy == 1


def test_one_who_declines_everything_is_not_praised(
    evaluated: Callable[..., Report], by_name: Callable[..., Any]
) -> None:
    found = by_name(evaluated(lambda text, picture: PHOTOGRAPH_ANSWERS["en"][0]))
    assert found["photographs", "en"].scores[OVERALL].accuracy == 1
    assert found["names", "en"].also["wrongly declined"].accuracy == 1
    assert found["names", "en"].scores[OVERALL].accuracy == 0
    assert found["absent things", "en"].scores["there"].accuracy == 0
    assert found["no picture talk", "en"].scores[OVERALL].accuracy == 0  # "a photograph", "drawings"


def test_an_interrupted_run_goes_on_where_it_was(
    evaluated: Callable[..., Report], oracle: Callable[..., str], text_llm: LoadedModel, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    whole, broken, rest = Rule(oracle), Rule(oracle, stop_after=100), Rule(oracle)
    expected = evaluated(backend=whole)
    with pytest.raises(KeyboardInterrupt):
        evaluated(backend=broken, out=out, batch_size=16)
    assert 0 < len(json.loads(out.read_text(encoding="utf-8"))["suites"]) < len(expected.results)
    report = evaluated(backend=rest, out=out, batch_size=16, load_base=lambda: text_llm)
    assert broken.asked + rest.asked == whole.asked
    assert [r.to_dict() for r in report.results] == [r.to_dict() for r in expected.results]

    def unneeded() -> LoadedModel:
        raise AssertionError("the base model was asked before")

    again = Rule(oracle)
    assert evaluated(backend=again, out=out, load_base=unneeded).retention == report.retention
    assert again.asked == 0
    with pytest.raises(UserError, match="whose files were others"):
        evaluated(out=out, meta={"model": "rule", "fingerprint": "2", "settings": {"seed": 0}})


def test_what_cannot_be_asked_is_named_with_its_remedy(folders: tuple[Path, Path], tmp_path: Path) -> None:
    asked, left_out = plan(None, None, 2, 0)
    assert {suite.name for suite in asked} == {
        *("easy-VQA", "scenes", "scene captions", "open Chinese", "no picture talk")
    }
    remedies = {suite.name: suite.remedy for suite in left_out}
    assert set(remedies) == {
        *("names", "facts", "main colour", "existence", "absent things", "side by side", "Tux Paint"),
        "photographs",
    }
    assert "--everyday" in remedies["names"] and "--photographs" in remedies["photographs"]
    with pytest.raises(UserError, match="no such table"):
        plan(tmp_path, None, 2, 0)
    with pytest.raises(UserError, match="no photographs"):
        plan(folders[0], tmp_path, 2, 0)


def test_no_suite_shows_what_was_trained_on(suites: list[Suite]) -> None:
    for suite in suites:
        keys = [item.picture.key for item in suite.items if item.picture]
        if suite.name == "Tux Paint":
            assert {item.right for item in suite.items} == {"black grouse", "macaw"}
        elif suite.name == "easy-VQA":
            assert all("/test/" in key for key in keys)
        elif suite.name in ("names", "facts", "main colour", "existence", "absent things", "side by side"):
            assert keys and all(set(re.findall(r"pictures/(\w+)/", key)) == {"noto"} for key in keys)
        ids = [item.id for item in suite.items]
        assert len(set(ids)) == len(ids)


def test_existence_is_asked_evenly_of_all_three_kinds(suites: list[Suite]) -> None:
    (suite,) = [s for s in suites if (s.name, s.language) == ("existence", "en")]
    for drawn in ("random", "popular", "adversarial"):
        answers = [item.right for item in suite.items if item.kind == drawn]
        assert answers.count("yes") == answers.count("no") == LIMIT // 6


def test_descriptions_are_compared_by_what_they_name() -> None:
    for index in range(60):
        drawn = scene(5, index)
        for language in ("en", "zh"):
            named = [things_named(caption, language) for caption in captions(drawn, language)]
            assert named[0].total() == len(drawn.objects)
            assert all(found == named[0] for found in named)
    assert things_named("two red circles and a small blue star", "en") == {"red circle": 2, "blue star": 1}
    assert things_named("两个红色圆形和一个小号蓝色星形", "zh") == {"red circle": 2, "blue star": 1}
    assert things_named("a dog", "en") == {}


@pytest.mark.parametrize(
    ("right", "answer", "same"),
    [
        ("T-Rex", "t-rex.", True),
        ("man’s shoe", "man's shoe", True),
        ("有", "有的。", True),
        ("没有", "没有。", True),
        ("没有", "有", False),
        ("是", "不是", False),
        ("yes", "no", False),
        ("红色", "红色。", True),
        ("red", "dark red", False),
    ],
)
def test_answers_that_say_the_same(right: str, answer: str, same: bool) -> None:
    assert same_answer(Item("1", "?", right, "kind"), answer) is same


def test_the_question_only_control_knows_texts_and_kinds() -> None:
    prior = Prior([("count", "how many?", "2"), ("count", "how many?", "2"), ("count", "how many x?", "5")])
    assert prior.answer(Item("1", "how many x?", "", "count")) == "5"
    assert prior.answer(Item("1", "how many new?", "", "count")) == "2"
    assert prior.answer(Item("1", "new", "", "new")) == ""
    assert prior.answer(Item("1", "How many x?", "", "count")) == "5"


def test_questions_are_asked_with_capitals_and_without() -> None:
    asked = {(suite.name, suite.language): suite.items for suite in plan(None, None, 60, 0)[0]}
    for name in ("scenes", "scene captions"):
        items = asked[name, "en"]
        assert 0.3 < sum(item.text[0].isupper() for item in items) / len(items) < 0.7
    assert all(item.text[0].islower() for item in asked["easy-VQA", "en"])  # as its authors ask


def test_a_model_of_another_tokenizer_is_not_compared(
    evaluated: Callable[..., Report],
) -> None:
    report = evaluated(lambda text, picture: "no")
    assert report.retention is None
    assert [suite.name for suite in report.left_out] == ["text retention"]


@pytest.mark.slow
def test_the_command_on_the_embedded_model(
    default_model: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    arguments = ["default", "--everyday", str(folders[0]), "--limit", "4", "--out", str(out)]
    first, again = (CliRunner().invoke(_build(), ["eval", "demo", *arguments]) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert "left out: photographs" in first.output and "text retention" in first.output
    report = json.loads(out.read_text(encoding="utf-8"))
    scores = {(s["suite"], s["language"]): s for s in report["suites"]}
    assert scores["easy-VQA", "en"]["scores"]["overall"]["accuracy"] > 0.5
    assert set(scores["names", "en"]["controls"]) == {QUESTION_ONLY, BLANK, SHUFFLED}
    assert report["text_retention"]["conversations"] == 4
    assert report["left_out"] == [vars(LeftOut("photographs", report["left_out"][0]["remedy"]))]
