"""The tables of the model card and of both READMEs are those of the embedded model's result file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llava_tuning.evaluation.demo.result import BLANK, QUESTION_ONLY, SHUFFLED, Pope, Result
from llava_tuning.evaluation.demo.run import Report
from llava_tuning.evaluation.demo.suite import Suite
from llava_tuning.evaluation.demo.table import markdown_table
from llava_tuning.evaluation.demo.text import Retention
from llava_tuning.evaluation.scoring import OVERALL, Score

ROOT = Path(__file__).parents[1]
# Of the READMEs' tables, in their order, and what their labels have in them.
SUITES = "easy-VQA", "scenes", "facts", "main colour", "existence", "names", "scene captions", "photographs"
ENGLISH_LABELS = (
    "easy-VQA",
    "scenes",
    "can you eat",
    "colour",
    "is there a",
    "names",
    "described",
    "photographs",
)
CHINESE_LABELS = "easy-VQA", "场景：", "能吃吗", "主要颜色", "有没有", "名称", "描述", "照片"
CONTROLS = QUESTION_ONLY, BLANK, SHUFFLED


def scores(found: dict[str, Any]) -> dict[str, Score]:
    return {name: Score(score["correct"], score["total"]) for name, score in found.items()}


@pytest.fixture(scope="module")
def report() -> Report:
    """What the result file was written from."""
    kept = json.loads((ROOT / "benchmarks" / "results" / "eval_demo_default.json").read_text("utf-8"))
    results = []
    for found in kept["suites"]:
        pope = {kind: Pope(**shares) for kind, shares in found["pope"].items()}
        suite = Suite(found["suite"], found["language"], [], None)
        shares = (scores(found[name]) for name in ("scores", "controls", "also"))
        results.append(Result(suite, *shares, pope, []))
    retention = Retention(**kept["text_retention"])
    return Report(kept["model"], kept["seed"], kept["limit"], [], results, retention, kept["created"])


def test_the_cards_table_is_what_eval_demo_wrote(report: Report) -> None:
    card = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    table, _, about = markdown_table(report).partition("\n\n")
    assert f"\n\n{table}\n\n" in card
    assert report.created[:10] in about and report.created[:10] in card


def per_cent(share: float) -> str:
    return f"{share:.0%}"[:-1] if share in (0, 1) else f"{share:.1%}"[:-1].replace("100.0", "100")


@pytest.mark.parametrize(
    ("name", "head", "labels"),
    [
        ("README.md", "| | English | question only | other picture | Chinese |", ENGLISH_LABELS),
        ("README_zh-CN.md", "| | 英语 | 只看问题 | 别的图片 | 中文 |", CHINESE_LABELS),
    ],
)
def test_the_readmes_tables_say_the_same(
    report: Report, name: str, head: str, labels: tuple[str, ...]
) -> None:
    readme = (ROOT / name).read_text(encoding="utf-8")
    first, _, *rows = readme[readme.index(head) :].partition("\n\n")[0].split("\n")
    assert first == head
    found = {(result.suite.name, result.suite.language): result for result in report.results}
    for suite, label, row in zip(SUITES, labels, rows, strict=True):
        assert label in row.split("|")[1]
        english, chinese = found[suite, "en"], found[suite, "zh"]
        low, high = (per_cent(bound) for bound in english.scores[OVERALL].interval)
        controls = (english.controls.get(control) for control in (QUESTION_ONLY, SHUFFLED))
        blind = [per_cent(control.accuracy) if control else "" for control in controls]
        score, *others = (cell.strip() for cell in row.split("|")[2:-1])
        overall = per_cent(english.scores[OVERALL].accuracy)
        assert re.split(r" ?[(（–]", score.rstrip(")）")) == [overall, low, high]
        assert others == [*blind, per_cent(chinese.scores[OVERALL].accuracy)]


def test_the_models_provenance_has_its_scores(report: Report) -> None:
    kept = json.loads((ROOT / "assets" / "default" / "provenance.json").read_text("utf-8"))["scores"]
    expected = {}
    for result in report.results:
        suite, language = result.suite.name, result.suite.language
        expected[f"eval demo: {suite} ({language})"] = result.scores[OVERALL].accuracy
        if language == "en" and suite in ("easy-VQA", "scenes"):
            for control in CONTROLS:
                expected[f"eval demo: {suite} (en), {control}"] = result.controls[control].accuracy
    assert kept == {name: round(share, 3) for name, share in expected.items()}
