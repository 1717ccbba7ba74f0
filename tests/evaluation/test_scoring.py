"""Answers are compared, and scores given their uncertainty, as published."""

from __future__ import annotations

import pytest

from llava_tuning.evaluation.scoring import Score, normalise_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [(" Yes.", "yes"), ("NO!", "no"), ('"red"\n', "red"), ("a  red circle.", "a red circle"), ("", "")],
)
def test_normalised_answers(text: str, expected: str) -> None:
    assert normalise_answer(text) == expected


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_intervals(correct: int, total: int, low: float, high: float) -> None:
    assert Score(correct, total).interval == pytest.approx((low, high), abs=6e-5)


def test_no_question_has_no_accuracy() -> None:
    assert Score(0, 0).to_dict()["accuracy"] is None
