"""What `train --dry-run` predicts, against what was measured at real sizes on a GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.train.shapes import SHAPES, load_of, make_batches, training_of
from benchmarks.train.steps import TASKS, Task
from benchmarks.train_step import RESULTS, WARM_UP
from llava_tuning.training.estimate import GIB, Load, card_named, memory, seconds

NAME = "internlm2_1_8b"


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


MEASURED = json.loads(Path(RESULTS / f"train_step_{NAME}.json").read_text(encoding="utf-8"))
TIMED = 6  # batches of a measurement
CARD = card_named(MEASURED["hardware"])
assert CARD is not None
ROWS = [row for row in MEASURED["rows"] if row["step"].startswith("ours") and not row["techniques"]]
ON_H200 = [
    row
    for name in ("h200", "h200_in_a_row", "h200_graph")
    for row in _rows(f"train_step_{NAME}_{name}")
    if row["step"].startswith("ours") and "error" not in row
]
RANK_512 = [row for row in _rows("train_step_internlm2_1_8b_r512_24gib") if row["step"] == "ours"]
SMALL = _rows("small_steps_h100")


@pytest.mark.parametrize(
    ("card", "row"),
    [*((CARD.name, row) for row in ROWS), *(("H200", row) for row in ON_H200)],
    ids=lambda it: it if isinstance(it, str) else f"{it['task']}, {it['step']}, {it['memory_gib'] or 80} GiB",
)
def test_memory_and_time_are_within_15_percent_of_those_measured(card: str, row: dict[str, Any]) -> None:
    assert f"--steps {TIMED} " in row["command"]
    task = TASKS[row["task"]]
    batches = make_batches(SHAPES[NAME], task.stage, row["batch"], WARM_UP + TIMED)
    frozen = task.kind != "full" and not row["task"].startswith("qlora")
    float8 = {"ours": frozen and "backward", "ours, no float8": False, "ours, float8 both ways": True}
    training = replace(training_of(SHAPES[NAME], task), frozen_fp8=float8[row["step"]])
    again, layers = row["layers_recomputed"], training.text.num_hidden_layers
    largest = max(map(load_of, batches), key=lambda load: load.tokens)
    assert memory(training, largest, again) / GIB == pytest.approx(row["peak_gib"], rel=0.15)
    took = [
        seconds(training, load_of(batch), card_named(card), again / layers) for batch in batches[WARM_UP:]
    ]
    assert sum(took) / TIMED == pytest.approx(row["seconds_a_step"], rel=0.15)


def test_there_are_measurements_of_every_kind_of_training() -> None:
    assert {row["task"] for row in ROWS} >= {"pretrain", "full", "lora_r512_vision_r64", "lora_r128"}
    assert {row["memory_gib"] for row in ROWS} == {None, 24}


@pytest.mark.parametrize("row", RANK_512, ids=lambda row: row["task"])
def test_a_step_of_few_samples_waits_for_the_cpu(row: dict[str, Any]) -> None:
    """Every layer is computed twice in 24 GiB, and eight samples are soon done."""
    task = TASKS[row["task"]]
    batches = make_batches(SHAPES[NAME], task.stage, row["batch"], WARM_UP + TIMED)
    frozen_fp8: Any = False if row["task"].startswith("qlora") else "backward"
    training = replace(training_of(SHAPES[NAME], task), frozen_fp8=frozen_fp8)
    largest = max(map(load_of, batches), key=lambda load: load.tokens)
    layers = training.text.num_hidden_layers
    assert memory(training, largest, layers) / GIB == pytest.approx(row["peak_gib"], rel=0.15)
    took = [seconds(training, load_of(batch), CARD, recomputed=1) for batch in batches[WARM_UP:]]
    assert sum(took) / TIMED == pytest.approx(row["seconds_a_step"], rel=0.15)


@pytest.mark.parametrize("row", SMALL, ids=lambda row: f"{row['task']}, {row['tokens']} tokens")
def test_a_step_of_a_small_model_is_predicted(row: dict[str, Any]) -> None:
    task = Task("pretrain", "frozen") if row["task"] == "pretrain" else Task("finetune", "lora", 16, 64)
    tokens, samples = row["tokens"], row["batch"]
    load = Load(tokens, tokens**2 / samples, tokens / 4, samples)
    took = seconds(training_of(SHAPES["demo"], task), load, CARD)
    assert took == pytest.approx(row["median_seconds_a_step"], rel=0.15)
