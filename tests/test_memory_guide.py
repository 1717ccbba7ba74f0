"""The guide to memory: its commands work, and its tables say what the program computes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llava_tuning.errors import UserError
from llava_tuning.inference.machine import GIB, Gpu, Machine, find_machine
from llava_tuning.inference.memory_modes import choose, needed_bytes
from llava_tuning.models.shapes import SERVED
from llava_tuning.models.sizes import sizes_of_shapes

ROOT = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("memory.md", "memory_zh-CN.md")
)
CPU = Machine("a CPU", 8, 16 * GIB, 16 * GIB, bfloat16=True, int8=True)
WORDS = {"可以": "yes", "不行": "no"}


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table whose first heading is `first`, without the first column."""
    table = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip(" ¹²") for cell in line.strip("|").split("|")[1:]] for line in table]
    return [[WORDS.get(cell, cell) for cell in row] for row in cells]


@pytest.fixture(scope="module")
def sizes() -> list:
    return [sizes_of_shapes(*shapes) for shapes in SERVED.values()]


def test_both_languages_say_the_same() -> None:
    assert commands(ENGLISH) == commands(CHINESE) != []
    assert rows(ENGLISH, "model") == rows(CHINESE, "模型")
    assert rows(ENGLISH, "machine") == rows(CHINESE, "机器")


def cells(row: dict, gpu: bool) -> list[str]:
    """What a table says of a result: scores, where it was asked easy-VQA, then agreement, speed, memory."""
    said = []
    if "easy_vqa" in row:
        model = row["easy_vqa"]["model"]
        low, high = (f"{100 * end:.1f}" for end in model["interval_95"])
        said = [f"{100 * model['accuracy']:.1f} % ({low}–{high})"]
        said += [
            f"{100 * row['easy_vqa'][who]['accuracy']:.1f} %" for who in ("question only", "blank picture")
        ]
    speed = row["tokens_per_s" if gpu else "tokens_per_cpu_s"]
    memory = ("peak_gpu_mib",) if gpu else ("after_mib", "peak_mib", "peak_private_mib")
    return [
        *said,
        f"{100 * row['same_as_bfloat16']:.1f} %",
        f"{speed:.1f}",
        *(f"{row[key] / 1024:.2f}" for key in memory),
    ]


@pytest.mark.parametrize("guide", [ENGLISH, CHINESE], ids=["English", "Chinese"])
@pytest.mark.parametrize("what", ["default_cpu", "internlm2_1_8b_cpu", "internlm2_1_8b_cuda", "default_cuda"])
def test_measured_tables_are_those_of_the_result_files(guide: str, what: str) -> None:
    file = ROOT / "benchmarks" / "results" / f"memory_modes_{what}.json"
    for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
        line = [f"`{row['mode']}`", *cells(row, what.endswith("cuda"))]
        assert f"| {' | '.join(line)} |" in guide


def test_the_table_of_sizes_is_what_the_program_computes(sizes: list) -> None:
    modes = ("float32", "bfloat16", "int8", "4bit")
    computed = [[f"{needed_bytes(mode, None, size, CPU) / GIB:.1f}" for mode in modes] for size in sizes]
    assert rows(ENGLISH, "model") == computed
    plain = replace(CPU, bfloat16=False)
    numbers = [
        f"{needed_bytes(mode, None, size, plain) / GIB:.1f}" for size in sizes[1:] for mode in modes[2:]
    ]
    said = re.search(r"then take ([\d.]+) and ([\d.]+) GiB at\s1.8B, ([\d.]+) and ([\d.]+) at 7B", ENGLISH)
    assert said is not None and list(said.groups()) == numbers


def test_the_table_of_machines_is_what_auto_chooses(sizes: list) -> None:
    laptops = [replace(CPU, free=free * GIB) for free in (4, 12)]
    cards = [Gpu(0, "a card", gib * GIB, (gib - 1) * GIB, bfloat16=gib != 16) for gib in (8, 12, 16, 24)]
    places = [("cpu", laptop) for laptop in laptops] + [
        ("cuda", replace(CPU, gpus=(card,))) for card in cards
    ]
    assert rows(ENGLISH, "machine") == [[chosen(size, *place) for size in sizes] for place in places]
    plain = [replace(laptop, bfloat16=False) for laptop in laptops]
    assert [[chosen(size, "cpu", laptop) for size in sizes] for laptop in plain] == [
        ["yes", "no", "no"],
        ["yes", "yes", "4bit"],
    ]


def chosen(size, device: str, machine: Machine) -> str:
    try:
        mode = choose("auto", device, size, machine).mode
    except UserError:
        return "no"
    return mode if mode in ("8bit", "int8", "4bit") else "yes"


@pytest.mark.slow
@pytest.mark.skipif(not find_machine().int8, reason="this CPU has no VNNI")
def test_its_commands_work(default_model: Path, free_port: int) -> None:
    for command in commands(ENGLISH):
        words = shlex.split(command)[1:]
        words += ["--port", str(free_port)] if words[0] == "doctor" else ["--max-new-tokens", "4"]
        done = subprocess.run(
            [sys.executable, "-m", "llava_tuning", *words],
            cwd=ROOT,
            input="What color is the shape?\n",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert words[0] == "doctor" or "red" in done.stdout
