"""How several GPUs are compared with one, by `benchmarks/scaling.py`, and what its committed results say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scaling import efficiency, typical_seconds

ROOT = Path(__file__).resolve().parents[1]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "scaling_h100.json").read_text(encoding="utf-8"))


def run(gpus: int, fixed: float, tokens: list[int], slow: dict[int, float] | None = None) -> dict[str, Any]:
    """A run whose steps take `fixed` seconds and a millisecond a token of a GPU; `slow` ones take longer."""
    seconds = [fixed + n / 1000 for n in tokens]
    for step, extra in (slow or {}).items():
        seconds[step] += extra
    counted = seconds[2:-1]
    return {
        "gpus": gpus,
        "warm_up": 2,
        "steps": len(counted),
        "left_out": 0,
        "step_s": seconds,
        "step_tokens": [gpus * n for n in tokens],
        "tokens_per_s": gpus * sum(tokens[2:-1]) / sum(counted),
    }


def test_steps_of_as_many_tokens_are_compared() -> None:
    """The second run's steps are smaller, and one of them is slow; neither is what the GPUs cost."""
    one = run(1, 1.0, [9, 9, 3000, 4000, 5000, 6000, 7000, 9])
    two = run(2, 2.0, [9, 9, 1000, 2000, 3000, 4000, 2500, 9], slow={0: 99, 4: 3.0, 7: 99})
    assert typical_seconds(one) == pytest.approx((6.0, 5000))
    assert typical_seconds(two, 5000) == pytest.approx((7.0, 5000))
    equal, in_all = efficiency(two, one)
    assert equal == pytest.approx(6 / 7)
    assert in_all == pytest.approx((12500 / 25.5) / (25000 / 30))


def test_runs_without_their_steps_tokens_are_compared_in_all() -> None:
    one, two = run(1, 1.0, [9, 9, 3000, 5000, 9]), run(2, 2.0, [9, 9, 3000, 5000, 9])
    del two["step_tokens"]
    assert efficiency(two, one) == (None, pytest.approx(10 / 12))


def test_the_guide_has_the_figures_of_the_results() -> None:
    """Each row of the H100 table, by task and number of GPUs, in the order of the guide."""
    names = {
        "1.8B, full finetuning": "full",
        "the same under `--deepspeed zero2`": "full_zero2",
        "the same under `--deepspeed zero3`": "full_zero3",
        "1.8B, LoRA, rank 128": "lora",
        "7B, stage 1": "7b_pretrain",
        "7B, LoRA, rank 128": "7b_lora",
        "7B, full finetuning, `--deepspeed zero3`": "7b_full_zero3",
    }
    guide = (ROOT / "docs" / "several-gpus.md").read_text(encoding="utf-8")
    table = guide[guide.index("| median step |") :]
    rows = {(row["task"], row["gpus"]): row for row in RESULTS["rows"]}
    shown = set()
    for line in re.findall(r"^\| [17t].*\|$", table, flags=re.MULTILINE):
        name, gpus, samples, tokens, equal, in_all, median, waited, memory = (
            re.sub(r" [¹²³⁴]", "", cell.strip()) for cell in line.strip("|").split("|")
        )
        row = rows[names[name], int(gpus)]
        shown.add((row["task"], row["gpus"]))
        assert samples == f"{row['samples_per_s']:.1f}"
        assert tokens == f"{round(row['tokens_per_s'] / row['gpus']):,}"
        assert median == f"{row['median_step_s']:.3f} s"
        assert waited == f"{100 * row['waited']:.1f} %"
        assert memory == f"{row['peak_gib']:.1f} GiB"
        alone = rows.get((row["task"], 1))
        if alone is None or alone is row:
            assert equal == in_all == ""
            continue
        shares = [None if s is None else f"{100 * s:.1f} %" for s in efficiency(row, alone)]
        assert [equal or None, in_all] == shares
    assert shown == set(rows)
