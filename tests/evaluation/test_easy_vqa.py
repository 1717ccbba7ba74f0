"""The benchmark and its controls: known numbers, and a real model through the command."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.errors import UserError
from llava_tuning.evaluation.contact_sheet import contact_sheet, sheet_rows
from llava_tuning.evaluation.easy_vqa import (
    ALWAYS_YES,
    BLANK,
    MODEL,
    QUESTION_ONLY,
    evaluate_easy_vqa,
    sample_questions,
)
from llava_tuning.evaluation.table import accuracy_table
from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.inference.loading import choose_for


class Rule:
    """Answers by a rule in place of a model, so that scores are known beforehand."""

    name, sees, max_length = "rule", True, 8192

    def __init__(self, rule: Callable[[str, Image.Image], str]) -> None:
        self._rule = rule
        self.settings: set[GenerationSettings] = set()

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        self.settings.add(settings)
        return [self._rule(messages[-1].text, messages[-1].images[0]) for messages in conversations]

    def stream(
        self,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
    ) -> Iterator[str]:
        raise NotImplementedError


def find_shape_colour(picture: Image.Image) -> str:
    """The colour of easy-VQA's shape: the most frequent dark or saturated one."""
    named = {
        (0, 0, 0): "black",
        (0, 0, 255): "blue",
        (165, 42, 42): "brown",
        (128, 128, 128): "gray",
        (0, 255, 0): "green",
        (255, 0, 0): "red",
        (0, 128, 128): "teal",
        (255, 255, 0): "yellow",
    }
    found = [(count, named[c]) for count, c in picture.getcolors(4096) or [] if c in named]  # type: ignore[index]
    return max(found)[1] if found else "none"


def test_the_controls_on_the_whole_test_set() -> None:
    """37.3 % for always yes and 67.0 % from the question alone are known of this benchmark."""
    model = Rule(lambda text, picture: "Yes.")
    report = evaluate_easy_vqa(model, batch_size=256)
    assert report.questions == 9673
    overall = {name: scores["overall"].accuracy for name, scores in report.scores.items()}
    assert overall[ALWAYS_YES] == pytest.approx(0.373, abs=5e-4)
    assert overall[QUESTION_ONLY] == pytest.approx(0.670, abs=5e-4)
    assert overall[MODEL] == overall[BLANK] == overall[ALWAYS_YES] == report.accuracy
    assert report.unparseable == 0
    assert all(settings.temperature == 0 for settings in model.settings)


def test_a_rule_that_sees_colours_is_right_about_colours_and_blind_on_blank_pictures() -> None:
    report = evaluate_easy_vqa(Rule(lambda text, picture: find_shape_colour(picture)), limit=400, seed=1)
    assert report.scores[MODEL]["colour"].accuracy == 1.0
    assert report.scores[MODEL]["yes/no"].accuracy == 0.0
    assert report.scores[BLANK]["colour"].accuracy < 0.4


def test_answers_that_are_none_of_the_thirteen_are_counted() -> None:
    report = evaluate_easy_vqa(Rule(lambda text, picture: "a red circle"), limit=20, controls=False)
    assert report.unparseable == 20 and report.accuracy == 0
    assert set(report.scores) == {MODEL}


def test_a_seed_chooses_the_same_questions_for_every_model() -> None:
    ids = [[question.id for question in sample_questions(50, seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0])) == 50
    with pytest.raises(UserError):
        sample_questions(0, 0)


def test_the_table_sets_models_beside_each_other() -> None:
    yes = evaluate_easy_vqa(Rule(lambda text, picture: "yes"), limit=60)
    seeing = evaluate_easy_vqa(Rule(lambda text, picture: find_shape_colour(picture)), limit=60)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(accuracy_table({"stage 1": yes, "stage 2": seeing}))
    text = console.export_text()
    for name in ("stage 1", "stage 2", ALWAYS_YES, QUESTION_ONLY, f"{BLANK} (stage 1)", f"{BLANK} (stage 2)"):
        assert name in text
    assert text.count(ALWAYS_YES) == 1
    assert f"{yes.accuracy:.1%}" in text


def test_the_command_with_a_real_model(blind_llava: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "scores" / "report.json", tmp_path / "sheet.png"
    arguments = [str(blind_llava), "--limit", "6", "--seed", "3", "--out", str(out), "--sheet", str(sheet)]
    result = CliRunner().invoke(_build(), ["eval", "easy-vqa", *arguments])
    assert result.exit_code == 0, result.output
    assert BLANK in result.output
    report = json.loads(out.read_text())
    assert report["load_in"] == choose_for(blind_llava, "auto", "auto").mode
    assert report["questions"] == len(report["answers"]) == 6
    assert set(report["scores"]) == {MODEL, ALWAYS_YES, QUESTION_ONLY, BLANK}
    assert set(report["scores"][MODEL]["overall"]) == {"accuracy", "interval_95", "correct", "total"}
    assert Image.open(sheet).width > 600


def test_a_text_model_is_refused(text_model: Path) -> None:
    result = CliRunner().invoke(_build(), ["eval", "easy-vqa", str(text_model)])
    assert isinstance(result.exception, UserError) and "text model" in str(result.exception)


def test_several_models_share_one_table_and_one_file(
    blind_llava: Path, default_model: Path, tmp_path: Path
) -> None:
    out, sheet = tmp_path / "scores.json", tmp_path / "sheet.png"
    arguments = [str(blind_llava), "default", "--limit", "6", "--out", str(out), "--sheet", str(sheet)]
    result = CliRunner().invoke(_build(), ["eval", "easy-vqa", *arguments])
    assert result.exit_code == 0, result.output
    assert [report["model"] for report in json.loads(out.read_text())] == ["blind", "default"]
    for row in ("blind ", "default ", "blank picture"):
        assert row in result.output
    assert Image.open(sheet).size[0] > 0


def test_a_model_named_twice_is_refused(blind_llava: Path) -> None:
    result = CliRunner().invoke(_build(), ["eval", "easy-vqa", str(blind_llava), str(blind_llava)])
    assert isinstance(result.exception, UserError) and "twice" in str(result.exception)


def test_the_embedded_default_sees(default_model: Path) -> None:
    report = evaluate_easy_vqa(load_backend("default"), limit=100)
    scores = {name: by_type["overall"].accuracy for name, by_type in report.scores.items()}
    assert scores[MODEL] >= 0.97
    assert scores[MODEL] > scores[BLANK] + 0.1
    assert scores[MODEL] > scores[QUESTION_ONLY]


class TestContactSheet:
    def test_a_row_shows_whether_it_is_right(self, tmp_path: Path) -> None:
        report = evaluate_easy_vqa(
            Rule(lambda text, picture: find_shape_colour(picture)), 200, controls=False
        )
        right = next(row for row in report.rows if row.right)
        wrong = next(row for row in report.rows if not row.right)
        for row, colour, other in (
            (right, (21, 127, 59), (195, 38, 29)),
            (wrong, (195, 38, 29), (21, 127, 59)),
        ):
            contact_sheet([row], tmp_path / "sheet.png")
            colours = {
                c for _, c in Image.open(tmp_path / "sheet.png").convert("RGB").getcolors(1 << 20) or []
            }
            assert colour in colours and other not in colours

    def test_the_grid_holds_every_row(self, tmp_path: Path) -> None:
        report = evaluate_easy_vqa(Rule(lambda text, picture: "a very long answer " * 20), 60, controls=False)
        sizes = {}
        for count in (4, 12):
            contact_sheet(sheet_rows(report, count), tmp_path / "sheet.png")
            sizes[count] = Image.open(tmp_path / "sheet.png").size
        assert sizes[4][0] == sizes[12][0]
        assert sizes[12][1] > 2.5 * sizes[4][1]

    def test_the_rows_are_a_mixed_sample(self) -> None:
        report = evaluate_easy_vqa(Rule(lambda text, picture: "yes"), 300, controls=False)
        rows = sheet_rows(report, 12)
        assert len({row.question.image_path for row in rows}) == 12
        assert sorted(row.question.type for row in rows) == ["colour"] * 4 + ["shape"] * 4 + ["yes/no"] * 4
        assert rows == sheet_rows(report, 12)
