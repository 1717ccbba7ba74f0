"""The training guide's tables of losses are those of the results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "training-speed.md").read_text(encoding="utf-8")
SUBJECTS = {
    "XTuner, float16": "XTuner",
    "XTuner as shipped: float16": "XTuner",
    "XTuner as shipped": "XTuner",
    "XTuner, scale settled": "XTuner, scale settled",
    "ours: gradients in float8": "ours",
    "ours": "ours",
    "ours, no float8": "ours, no float8",
}


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
    return found


def table(after: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the guide's first table behind `after`."""
    found = re.search(r"(\n\|.*)+", GUIDE[GUIDE.index(after) :])
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].strip().split("\n")]
    return rows[0], rows[2:]


@pytest.mark.parametrize(
    ("stage", "file", "after", "count"),
    [
        ("pretrain", "loss_curves", "Stage 1, mean of seven", 3),
        ("finetune", "loss_curves_stage2", "Stage 2, LoRA", 4),
    ],
)
def test_losses(stage: str, file: str, after: str, count: int) -> None:
    runs = [one for one in result(file)["runs"] if one["stage"] == stage]
    shared = {one["start"] for one in runs if one["subject"] == "XTuner"}
    head, rows = table(after)
    windows = [[int(step) for step in cell.split("–")] for cell in head[1:-1]]
    assert len({SUBJECTS[name] for name, *_ in rows}) == count
    for name, *told in rows:
        ours = [one for one in runs if one["subject"] == SUBJECTS[name] and one["start"] in shared]
        means = [mean([mean(one["losses"][first - 1 : last]) for one in ours]) for first, last in windows]
        assert told == [f"{value:.3f}" for value in (*means, mean([one["held_out"] for one in ours]))]


def test_differences() -> None:
    by_name = {(one["subject"], one["off"]): one for one in result("loss_curves_stage2")["smoothed_off"]}
    _, rows = table("How far the smoothed curves")
    assert len({(subject, off) for subject, off, *_ in rows}) == 6
    for subject, off, *told in rows:
        one = by_name[SUBJECTS[subject], SUBJECTS[off]]
        single = one["later_single_starts_at_most"]
        assert told == [
            str(one["starts"]),
            f"{100 * one['later_at_most']:.2f} %",
            f"{100 * one['later_mean']:.2f} %",
            " to ".join(f"{100 * end:.1f}" for end in sorted({min(single), max(single)})) + " %",
            sure(one["last_by_start"]),
            sure(one["held_out_by_start"]),
        ]


def sure(share: dict[str, float]) -> str:
    """With a standard error where several starts were run."""
    text = f"{100 * share['mean']:+.1f}"
    if "standard_error" in share:
        text += f" ± {100 * share['standard_error']:.1f}"
    return f"{text} %".replace("-", "−")
