"""What the comparison of loss curves says of runs whose difference is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xtuner", reason="the benchmark trains XTuner's own step too")

from benchmarks import loss_curves
from benchmarks.loss_curves import RESULTS, SMOOTHING, compare, draw

STEPS = 3 * SMOOTHING


def run(subject: str, start: int, losses: list[float], held_out: float = 1.0) -> dict[str, Any]:
    return {"stage": "finetune", "subject": subject, "start": start, "losses": losses, "held_out": held_out}


def test_each_start_is_compared_with_the_same_start_of_the_other() -> None:
    runs = []
    for start, (level, share) in enumerate(((2.0, 0.99), (8.0, 0.95))):
        runs.append(run("XTuner", start, [level] * STEPS, level))
        losses = [1.5 * level] * (STEPS - SMOOTHING) + [share * level] * SMOOTHING
        runs.append(run("ours", start, losses, share * level))
    (found,) = compare(runs)
    assert (found["subject"], found["off"], found["starts"]) == ("ours", "XTuner", 2)
    assert found["at_most"] == found["later_at_most"] == pytest.approx(0.5)
    assert found["at_the_end"] == pytest.approx((0.99 * 2 + 0.95 * 8) / 10 - 1)
    for name in ("last_by_start", "held_out_by_start"):  # 1 and 5 % below
        assert found[name] == {"mean": pytest.approx(-0.03), "standard_error": pytest.approx(0.02)}


def test_what_lies_below_and_above_does_not_cancel_out() -> None:
    below = [1.0] * SMOOTHING + [1.8] * SMOOTHING + [2.2] * SMOOTHING
    (found,) = compare([run("XTuner", 0, [2.0] * STEPS), run("ours", 0, below)])
    # From 10 % below, through 19 windows that hold some of both, to 10 % above.
    off = [abs(-0.1 + 0.2 * number / SMOOTHING) for number in range(SMOOTHING + 1)]
    assert found["later_mean"] == pytest.approx(sum(off) / len(off), abs=1e-5)
    assert found["later_at_most"] == pytest.approx(0.1)
    assert found["at_most"] == pytest.approx(0.5)
    assert found["mean"] > found["later_mean"]


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


def test_the_plot_has_a_panel_for_each_way_of_xtuners(tmp_path: Path) -> None:
    from PIL import Image

    runs = [run("XTuner", 0, [2.0] * STEPS), run("ours", 0, [2.0] * STEPS)]
    draw(runs, tmp_path / "two.png")
    draw([*runs, run("XTuner, scale settled", 0, [2.0] * STEPS)], tmp_path / "three.png")
    heights = [Image.open(tmp_path / f"{name}.png").height for name in ("two", "three")]
    assert heights[1] == pytest.approx(1.5 * heights[0], abs=2)


def test_curves_that_are_too_short_are_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["loss_curves", "--data", "none", "--steps", str(2 * SMOOTHING - 1)])
    with pytest.raises(SystemExit) as refused:
        loss_curves.main()
    assert refused.value.code != 0
    assert f"{2 * SMOOTHING} or more" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "_stage2", "_stage2_former_order", "_stage2_earlier"])
def test_what_stands_in_the_results_is_what_their_runs_say(name: str) -> None:
    result = json.loads((RESULTS / f"loss_curves{name}.json").read_text(encoding="utf-8"))
    assert compare(result["runs"]) == result["smoothed_off"]
