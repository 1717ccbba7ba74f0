"""Phrasings that several data sets share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from everyday_cases import write_everyday

from llava_tuning.data.easy_vqa import write_easy_vqa
from llava_tuning.data.everyday.conversations import write_conversations
from llava_tuning.data.load import load_records
from llava_tuning.data.phrases import as_typed
from llava_tuning.data.scenes import write_scenes

Write = Callable[[Path], object]


def write_everyday_conversations(out: Path) -> None:
    write_conversations(write_everyday(out / "table"), out, 60, size=64)


@pytest.mark.parametrize(
    ("write", "files"),
    [
        (lambda out: write_scenes(out, 60, size=64), ("pretrain", "finetune")),
        (lambda out: write_easy_vqa(out, limit=60), ("pretrain", "finetune")),
        (write_everyday_conversations, ("pretrain", "finetune", "names")),
    ],
)
def test_a_capital_does_not_tell_a_question_from_a_request(
    write: Write, files: tuple[str, ...], tmp_path: Path
) -> None:
    """A model that knew questions in small letters only described what it was asked with a capital."""
    write(tmp_path)
    for name in files:
        records = load_records(tmp_path / f"{name}.json")
        first = [
            message.text[0] for record in records for message in record.messages() if message.role == "user"
        ]
        share = sum(letter.isupper() for letter in first) / len(first)
        assert 0.3 < share < 0.7, (name, Counter(first))


def test_the_official_test_is_asked_as_it_is(tmp_path: Path) -> None:
    write_easy_vqa(tmp_path, limit=20)
    asked = [m.text for r in load_records(tmp_path / "test.json") for m in r.messages() if m.role == "user"]
    assert len(asked) > 40 and all(text[0].islower() for text in asked)


def test_only_the_first_letter_changes_and_the_same_key_repeats_it() -> None:
    turns = [("what is this?", "A TV."), ("Describe NASA.", "x"), ("这是什么？", "猫"), ("", "")] * 20
    typed = as_typed(turns, "a")
    assert typed == as_typed(turns, "a") != as_typed(turns, "b")
    assert [(q.lower(), a) for q, a in typed] == [(q.lower(), a) for q, a in turns]
    assert {q for q, _ in typed} == {
        *("what is this?", "What is this?", "Describe NASA.", "describe NASA.", "这是什么？", "")
    }
