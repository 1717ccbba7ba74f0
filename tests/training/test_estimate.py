"""What `train --dry-run` predicts, against what was measured at real sizes on a GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.train.shapes import SHAPES, load_of, make_batches, training_of
from benchmarks.train.steps import TASKS
from benchmarks.train_step import RESULTS, WARM_UP
from llava_tuning.training.estimate import GIB, card_named, memory, seconds

NAME = "internlm2_1_8b"
MEASURED = json.loads(Path(RESULTS / f"train_step_{NAME}.json").read_text(encoding="utf-8"))
TIMED = 6  # batches of a measurement
ROWS = [row for row in MEASURED["rows"] if row["step"].startswith("ours") and not row["techniques"]]


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['task']}, {row['step']}, {row['memory_gib'] or 80} GiB"
)
def test_memory_and_time_are_within_15_percent_of_those_measured(row: dict[str, Any]) -> None:
    assert f"--steps {TIMED} " in row["command"]
    task = TASKS[row["task"]]
    batches = make_batches(SHAPES[NAME], task.stage, row["batch"], WARM_UP + TIMED)
    frozen = task.kind != "full" and not row["task"].startswith("qlora")
    float8 = {"ours": frozen and "backward", "ours, no float8": False, "ours, float8 both ways": True}
    training = replace(training_of(SHAPES[NAME], task), frozen_fp8=float8[row["step"]])
    again, layers = row["layers_recomputed"], training.text.num_hidden_layers
    largest = max(map(load_of, batches), key=lambda load: load.tokens)
    assert memory(training, largest, again) / GIB == pytest.approx(row["peak_gib"], rel=0.15)
    card = card_named(MEASURED["hardware"])
    assert card is not None
    took = [seconds(training, load_of(batch), card, again / layers) for batch in batches[WARM_UP:]]
    assert sum(took) / TIMED == pytest.approx(row["seconds_a_step"], rel=0.15)


def test_there_are_measurements_of_every_kind_of_training() -> None:
    assert {row["task"] for row in ROWS} >= {"pretrain", "full", "lora_r512_vision_r64", "lora_r128"}
    assert {row["memory_gib"] for row in ROWS} == {None, 24}
