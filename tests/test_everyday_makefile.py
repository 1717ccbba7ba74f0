"""`make -f assets/demo/Makefile`: what it does again and goes on with, and that its steps meet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from everyday_cases import write_everyday
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "SCENES=40",
    "QUESTIONS=40",
    "CAPTIONS=200",
    "MIX=200",
    "BASE_CHAT=3",
    "BATCH_CHAT=12",
    "BATCH_CLIP=1024",
    "EPOCHS=0.2",
    "TALK=60",
    "HOLD_OUT=twemoji",
]
STAGES = ["pretrain", "finetune", "export", "finetune", "export", "export"]
STEPS = "TRAIN=--set max_steps=2 --set save_steps=1 --set batch_tokens=2048 --set dataloader_num_workers=0"
# Only writes files, and fails half-way at the command that `break` names.
PROGRAM = """#!/usr/bin/env bash
set -e
echo "$*" >> "$(dirname "$0")/log"
while [ $# -gt 0 ]; do
  [ "$1" = --out ] && out=$2
  [ "$1" = --work-dir ] && work=$2
  [ "$1" = train-clip ] && clip=1
  [ -e "$(dirname "$0")/break" ] && [ "$1" = "$(cat "$(dirname "$0")/break")" ] && fail=1
  shift
done
if [ -n "$work" ]; then
  mkdir -p "$work"
  touch "$work/iter_1.pth"
elif [[ $out = *.json ]]; then
  touch "$out"
else
  mkdir -p "$out"
  [ -z "$clip" ] || touch "$out/train_state.pt"
  [ -n "$fail" ] || rm -f "$out/train_state.pt"
fi
[ -z "$fail" ]
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., list[str]]:
    """Run make, optionally with a command that fails half-way; what was called, and whether with --resume."""
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)

    def run(fails: str = "", *more: str) -> list[str]:
        (tmp_path / "log").write_text("")
        (tmp_path / "break").write_text(fails)
        command = [
            "make",
            "-f",
            "assets/demo/Makefile",
            f"OUT={tmp_path / 'out'}",
            f"LT={program}",
            f"PYTHON={program}",
            *more,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode != 0) == bool(fails), done.stdout + done.stderr
        called: list[str] = []
        for line in (tmp_path / "log").read_text().splitlines():
            words = line.split()
            name = words[1] if words[0] == "data" else Path(words[0]).name
            stage = next((s for s in ("pretrain", "finetune") if s in line.split("--work-dir")[0]), "")
            name = stage if name == "train" else name
            called.append(f"{name} --resume" if "--resume" in words else name)
        return called

    (tmp_path / "out").mkdir()
    return run


def test_nothing_is_done_twice(make: Callable[..., list[str]]) -> None:
    first = make()
    data = [
        "everyday",
        "photographs",
        "easy-vqa",
        "scenes",
        "everyday-questions",
        "base_chat.py",
        "mix",
        "mix",
        "mix",
    ]
    assert sorted(name for name in first if name not in STAGES) == sorted([*data, "train-clip"])
    assert [name for name in first if name in STAGES] == STAGES
    assert make() == []


@pytest.mark.parametrize("step", ["everyday-questions", "photographs", "assets/demo/base_chat.py"])
def test_data_that_were_not_finished_are_made_again(step: str, make: Callable[..., list[str]]) -> None:
    assert make(fails=step)[-1] == Path(step).name
    assert Path(step).name in make()


@pytest.mark.parametrize(
    ("fails", "goes_on"), [("train-clip", "train-clip"), ("train", "pretrain"), ("export", "export")]
)
def test_a_step_that_was_stopped_goes_on(fails: str, goes_on: str, make: Callable[..., list[str]]) -> None:
    make(fails=fails)
    assert make()[0] == (goes_on if fails == "export" else f"{goes_on} --resume")


def test_what_an_earlier_encoder_gave_is_not_gone_on_with(
    make: Callable[..., list[str]], tmp_path: Path
) -> None:
    make()
    (tmp_path / "out" / "encoder.done").unlink()
    assert make() == ["train-clip", *STAGES]
    (tmp_path / "out" / "scenes.done").unlink()
    again = make()
    assert not any("--resume" in name for name in again)
    assert {"train-clip", "pretrain", "finetune", "mix"} <= set(again) and "easy-vqa" not in again


@pytest.mark.parametrize("style", ["", "openmoji"])
def test_a_style_is_held_out_of_all_that_the_encoder_sees(
    style: str, make: Callable[..., list[str]], tmp_path: Path
) -> None:
    make("", f"HOLD_OUT={style}")
    log = (tmp_path / "log").read_text().splitlines()
    asked = [line for line in log if line.split()[0] == "train-clip" or "everyday-questions" in line]
    assert len(asked) == 2 and all(("--hold-out openmoji" in line) == bool(style) for line in asked)
    assert style or not any("--hold-out" in line for line in log)


def test_several_gpus_share_each_step(make: Callable[..., list[str]], tmp_path: Path) -> None:
    """Of the size that it has on one, so that the recipe stays what it was."""

    def asked(gpus: int) -> list[str]:
        # Under torchrun there is no program, but `-m llava_tuning`.
        make("", f"GPUS={gpus}", f"TORCHRUN={tmp_path / 'program'}", f"OUT={tmp_path / f'on_{gpus}'}")
        log = (tmp_path / "log").read_text().splitlines()
        return [line for line in log if "train-clip" in line or line.startswith("train ")]

    for folder in ("on_1", "on_4"):
        (tmp_path / folder).mkdir()
    for one, four in zip(asked(1), asked(4), strict=True):
        assert "--nproc-per-node" not in one and "--nproc-per-node 4" in four
        clip = re.search(r"--batch-size (\d+)", four)
        if clip:
            assert four.startswith("--nproc-per-node 4 -m llava_tuning train-clip") and clip[0] in one
            continue
        of_one, of_four = (
            {name: int(n) for name, n in re.findall(r"(batch_\w+|max_steps)=(\d+)", line)}
            for line in (one, four)
        )
        assert of_four.pop("max_steps") == of_one.pop("max_steps")
        assert of_one and {name: 4 * n for name, n in of_four.items()} == of_one


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [1, 2])  # processes on the CPU
def test_the_makefile_builds_a_model_and_goes_on_where_it_was_stopped(tmp_path: Path, gpus: int) -> None:
    write_everyday(tmp_path / "everyday")
    for split in ("train", "test"):
        (tmp_path / "photographs" / split).mkdir(parents=True)
        Image.effect_noise((90, 60), 80).save(tmp_path / "photographs" / split / "street.jpg")
    program = Path(sys.executable).parent / "llava-tuning"
    for step in ("everyday", "photographs"):  # fetched from registries otherwise
        (tmp_path / f"{step}.done").touch()
    make = ["make", "-f", "assets/demo/Makefile", f"OUT={tmp_path}", f"LT={program}", *SMALL, STEPS]
    make += [f"GPUS={gpus}", f"TORCHRUN={program.with_name('torchrun')}", f"PYTHON={sys.executable}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    provenance = json.loads((tmp_path / "parts" / "provenance.json").read_text(encoding="utf-8"))
    data = [Path(name).name for name in provenance["data"]]
    assert provenance["stage"] == "finetune" and {"talk.json", "start.pth"} <= set(data), data
    assert (tmp_path / "model" / "config.json").is_file()

    (tmp_path / "stage2.done").unlink()
    (tmp_path / "finetune" / "iter_2.pth").unlink()
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--resume" in done.stdout and "train-clip" not in done.stdout
    assert done.stdout.count("llava-tuning train ") == 2  # and the talk begins anew
