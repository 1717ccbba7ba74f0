"""What the comparison of loss curves says of runs whose difference is known, and the guide of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

pytest.importorskip("xtuner", reason="the benchmark trains XTuner's own step too")

from benchmarks.loss_curves import RESULTS, SMOOTHING, compare

STEPS = 3 * SMOOTHING
GUIDE = (Path(__file__).parents[1] / "docs" / "training-speed.md").read_text(encoding="utf-8")
SUBJECTS = {
    "XTuner, float16": "XTuner",
    "XTuner, float16, scale settled": "XTuner, scale settled",
    "ours: gradients in float8": "ours",
    "ours, no float8": "ours, no float8",
}


def run(subject: str, start: int, losses: list[float], held_out: float = 1.0) -> dict[str, Any]:
    return {"stage": "finetune", "subject": subject, "start": start, "losses": losses, "held_out": held_out}


def test_how_far_a_run_ends_off_and_how_sure_that_is() -> None:
    runs = [run("XTuner", start, [2.0] * STEPS) for start in range(2)]
    runs += [
        run("ours", start, [3.0] * (STEPS - SMOOTHING) + [2.0 * share] * SMOOTHING, share)
        for start, share in enumerate((0.99, 0.95))
    ]
    (found,) = compare(runs)
    assert (found["subject"], found["off"], found["starts"]) == ("ours", "XTuner", 2)
    assert found["at_most"] == found["later_at_most"] == pytest.approx(0.5)
    assert found["at_the_end"] == pytest.approx(-0.03)
    for name in ("last_by_start", "held_out_by_start"):  # 1 and 5 % below
        assert found[name] == {"mean": pytest.approx(-0.03), "standard_error": pytest.approx(0.02)}


def test_one_start_has_no_standard_error() -> None:
    (found,) = compare([run("XTuner", 0, [2.0] * STEPS), run("ours", 0, [2.0] * STEPS, 1.5)])
    assert (found["last_by_start"], found["held_out_by_start"]) == ({"mean": 0.0}, {"mean": 0.5})


def test_the_first_steps_are_left_out_of_what_comes_later() -> None:
    first = [4.0] * SMOOTHING + [2.0] * (STEPS - SMOOTHING)
    (found,) = compare([run("XTuner", 0, [2.0] * STEPS), run("ours", 0, first)])
    assert (found["at_most"], found["single_starts_at_most"]) == (1.0, [1.0])
    assert (found["later_at_most"], found["later_single_starts_at_most"]) == (0.0, [0.0])


def test_starts_that_xtuner_was_not_run_from_are_left_out() -> None:
    runs = [run("XTuner", 0, [2.0] * STEPS), run("ours", 0, [2.0] * STEPS), run("ours", 1, [9.0] * STEPS)]
    (found,) = compare(runs)
    assert (found["starts"], found["at_most"]) == (1, 0)


def test_ours_is_compared_with_xtuner_both_ways_and_with_ours_without_float8() -> None:
    levels = {"XTuner": 2.0, "XTuner, scale settled": 1.0, "ours, no float8": 4.0, "ours": 8.0}
    found = compare([run(name, 0, [level] * STEPS, level) for name, level in levels.items()])
    off = {one["off"]: one for one in found if one["subject"] == "ours"}
    assert {name: one["at_the_end"] for name, one in off.items()} == {
        "XTuner": 3.0,
        "XTuner, scale settled": 7.0,
        "ours, no float8": 1.0,
    }
    assert off["XTuner, scale settled"]["held_out_by_start"] == {"mean": 7.0}
    assert {one["subject"] for one in found if one["off"] == "ours, no float8"} == {"ours"}


def table(after: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the guide's first table behind `after`."""
    found = re.search(r"(\n\|.*)+", GUIDE[GUIDE.index(after) :])
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].strip().split("\n")]
    return rows[0], rows[2:]


@pytest.mark.parametrize(
    ("stage", "file", "after"),
    [
        ("pretrain", "loss_curves", "Stage 1, mean of seven"),
        ("finetune", "loss_curves_stage2", "Stage 2, LoRA"),
    ],
)
def test_the_guides_losses_are_those_of_the_results(stage: str, file: str, after: str) -> None:
    runs = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))["runs"]
    runs = [one for one in runs if one["stage"] == stage]
    shared = {one["start"] for one in runs if one["subject"] == "XTuner"}
    head, rows = table(after)
    windows = [[int(step) for step in cell.split("–")] for cell in head[1:-1]]
    assert len(rows) >= 3
    for name, *told in rows:
        ours = [one for one in runs if one["subject"] == SUBJECTS[name] and one["start"] in shared]
        means = [mean([mean(one["losses"][first - 1 : last]) for one in ours]) for first, last in windows]
        assert told == [f"{value:.3f}" for value in (*means, mean([one["held_out"] for one in ours]))]


def test_the_guides_differences_are_those_of_the_results() -> None:
    found = json.loads((RESULTS / "loss_curves_stage2.json").read_text(encoding="utf-8"))["smoothed_off"]
    by_name = {(one["subject"], one["off"]): one for one in found}
    _, rows = table("How far the smoothed means")
    assert len(rows) >= 5
    for subject, off, *told in rows:
        one = by_name[subject, off]
        single = one["later_single_starts_at_most"]
        assert told == [
            str(one["starts"]),
            f"{one['later_at_most']:.2%}".replace("%", " %"),
            f"{one['later_mean']:.2%}".replace("%", " %"),
            f"{100 * min(single):.1f} to {100 * max(single):.1f} %",
            sure(one["last_by_start"]),
            sure(one["held_out_by_start"]),
        ]


def sure(share: dict[str, float]) -> str:
    text = f"{100 * share['mean']:+.1f} ± {100 * share['standard_error']:.1f} %"
    return text.replace("-", "−")
