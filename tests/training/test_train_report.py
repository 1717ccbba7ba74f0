"""What the benchmark of a training step prints of its rows."""

from __future__ import annotations

from benchmarks.train.report import describe
from llava_tuning.training.estimate import FLOP_FORMULA


def test_the_table_says_how_its_operations_are_counted_and_how_ours_compares() -> None:
    row = {"task": "pretrain", "memory_gib": None, "techniques": False, "batch": 32, "loss": 1.0}
    rates = {"tokens_per_s": 1000, "tflop_per_s": 200.0}
    rows = [
        row | rates | {"step": "XTuner as shipped", "samples_per_s": 40.0},
        row | rates | {"step": "ours", "samples_per_s": 140.0},
    ]
    first, *table = describe({"rows": rows, "matmul_tflop_per_s": 800.0}).splitlines()
    assert FLOP_FORMULA in first
    theirs = next(line for line in table if "XTuner" in line)
    assert "ours is 3.50×" in theirs and "( 25%)" in theirs
