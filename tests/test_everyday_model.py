"""The Makefile that builds a model of everyday things: its steps meet, from data to the parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from everyday_cases import write_everyday
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["SCENES=40", "QUESTIONS=40", "MIX=200", "EPOCHS=0.2"]
STEPS = "TRAIN=--set max_steps=2 --set save_steps=1 --set batch_tokens=2048 --set dataloader_num_workers=0"


@pytest.mark.slow
def test_the_makefile_builds_a_model_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    write_everyday(tmp_path / "everyday")
    for split in ("train", "test"):
        (tmp_path / "photographs" / split).mkdir(parents=True)
        Image.effect_noise((90, 60), 80).save(tmp_path / "photographs" / split / "street.jpg")
    program = Path(sys.executable).parent / "llava-tuning"
    for step in ("everyday", "photographs"):  # fetched from registries otherwise
        (tmp_path / f"{step}.done").touch()
    make = ["make", "-f", "assets/demo/Makefile", f"OUT={tmp_path}", f"LT={program}", *SMALL, STEPS]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    provenance = json.loads((tmp_path / "parts" / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["stage"] == "finetune"
    assert (tmp_path / "model" / "config.json").is_file()

    (tmp_path / "stage2.done").unlink()
    (tmp_path / "finetune" / "iter_2.pth").unlink()
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--resume" in done.stdout and "train-clip" not in done.stdout
