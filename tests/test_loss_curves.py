"""What the comparison of loss curves says of runs whose difference is known."""

from __future__ import annotations

import pytest

pytest.importorskip("xtuner", reason="the benchmark trains XTuner's own step too")

from benchmarks.loss_curves import SMOOTHING, compare

STEPS = 3 * SMOOTHING


def run(subject: str, start: int, losses: list[float], held_out: float) -> dict[str, object]:
    return {"stage": "finetune", "subject": subject, "start": start, "losses": losses, "held_out": held_out}


def test_a_run_that_lies_above_is_said_to_and_how_sure_that_is() -> None:
    runs = [run("XTuner", start, [2.0] * STEPS, 1.0) for start in range(2)]
    runs += [run("ours", 0, [2.02] * STEPS, 1.01), run("ours", 1, [2.06] * STEPS, 1.03)]
    (found,) = compare(runs)
    assert (found["subject"], found["off"], found["starts"]) == ("ours", "XTuner", 2)
    assert found["at_most"] == found["later_mean"] == found["at_the_end"] == pytest.approx(0.02)
    for name in ("last_by_start", "held_out_by_start"):  # 1 and 3 %
        assert found[name] == {"mean": pytest.approx(0.02), "standard_error": pytest.approx(0.01)}


def test_the_first_steps_are_left_out_of_what_comes_later() -> None:
    first = [4.0] * SMOOTHING + [2.0] * (STEPS - SMOOTHING)
    (found,) = compare([run("XTuner", 0, [2.0] * STEPS, 1.0), run("ours", 0, first, 1.0)])
    assert found["at_most"] == pytest.approx(1.0)
    assert found["later_at_most"] == 0


def test_starts_that_xtuner_was_not_run_from_are_left_out() -> None:
    runs = [run("XTuner", 0, [2.0] * STEPS, 1.0), run("ours", 0, [2.0] * STEPS, 1.0)]
    (found,) = compare([*runs, run("ours", 1, [9.0] * STEPS, 9.0)])
    assert (found["starts"], found["at_most"]) == (1, 0)
