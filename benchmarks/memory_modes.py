"""Peak memory, speed and answers of each mode that `--load-in` takes, each in a process of its own.

    python -m benchmarks.memory_modes [MODEL] [--limit 300]
    python -m benchmarks.memory_modes --shapes internlm2_1_8b

A model is asked easy-VQA's official test questions, beside the controls of `llava-tuning eval`, and a few
questions without a picture; its answers are compared with those of the first mode. Random weights of a size
(`--shapes`) have nothing to say: the likeliest next token at each position of a fixed text with a picture is
compared instead. Prints a table and writes benchmarks/results/memory_modes_*.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from llava_tuning.inference.backend import ChatMessage, GenerationSettings
from llava_tuning.inference.machine import find_machine
from llava_tuning.inference.transformers_backend import TransformersBackend
from llava_tuning.models.default import resolve_model
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.shapes import CLIP_L, INTERNLM2_1_8B, INTERNLM2_7B, SMOLLM2_135M

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "assets" / "samples" / "red_circle.png"
SHAPES = {"internlm2_1_8b": INTERNLM2_1_8B, "internlm2_7b": INTERNLM2_7B, "smollm2_135m": SMOLLM2_135M}
CPU, CUDA = ("bfloat16", "float32", "int8", "4bit"), ("bfloat16", "float32", "8bit", "4bit")
QUESTIONS = (
    "What is the capital of France?",
    "Write two sentences about the sea.",
    "What is the opposite of hot?",
    "Name three colors.",
    "How many days are in a week?",
    "What do bees make?",
    "Explain what a triangle is.",
    "What is water made of?",
    "Give me a tip for sleeping better.",
    "Which planet is closest to the sun?",
)
ANSWER = GenerationSettings(max_new_tokens=32, temperature=0)
MIB = 2**20


class PeakMemory(threading.Thread):
    """Looks every 20 ms how much of this process's memory is its own, which the system cannot take back."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.private = 0

    def run(self) -> None:
        while True:
            self.private = max(self.private, _status("RssAnon"))
            time.sleep(0.02)


def _status(name: str) -> int:
    """A line of /proc/self/status in MiB; 0 where this system has none."""
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{name}:")), 0)


def measure(model: str, mode: str, device: str, limit: int, random_weights: bool) -> dict[str, Any]:
    """One mode in this process."""
    peak = PeakMemory()
    before = _status("VmRSS")
    peak.start()
    start = time.perf_counter()
    lines: list[str] = []
    backend = TransformersBackend.load(resolve_model(model), "model", device, mode, lines.append)
    row: dict[str, Any] = {"mode": mode, "load_s": round(time.perf_counter() - start, 1), "chose": lines[0]}
    row |= tokens(backend) if random_weights else answers(backend, limit)
    row |= {
        "before_mib": before,
        "after_mib": _status("VmRSS"),
        "peak_mib": _status("VmHWM"),
        "peak_private_mib": peak.private,
    }
    if backend._forward.model.device.type == "cuda":
        row["peak_gpu_mib"] = torch.cuda.max_memory_allocated() // MIB
    return row


def answers(backend: TransformersBackend, limit: int) -> dict[str, Any]:
    """easy-VQA with controls, and answers without a picture with how fast they were written."""
    from llava_tuning.evaluation.easy_vqa import BLANK, MODEL, QUESTION_ONLY, evaluate_easy_vqa

    report = evaluate_easy_vqa(backend, limit)
    texts, written = [], 0
    start, cpu = time.perf_counter(), time.process_time()
    for question in QUESTIONS:
        text = "".join(backend.stream([ChatMessage("user", question)], ANSWER))
        written += len(backend._tokenizer.encode(text))
        texts.append(text)
    speed = _speed(written, start, cpu)
    scores = {who: report.scores[who]["overall"].to_dict() for who in (MODEL, QUESTION_ONLY, BLANK)}
    outputs = [row.answer for row in report.rows] + texts
    return {**speed, "easy_vqa": scores, "outputs": outputs}


def _speed(written: int, start: float, cpu: float) -> dict[str, Any]:
    """Tokens a second, and a second of processor time, which other programs on the machine leave alone."""
    wall, busy = time.perf_counter() - start, time.process_time() - cpu
    return {"tokens_per_s": round(written / wall, 1), "tokens_per_cpu_s": round(written / busy, 1)}


@torch.inference_mode()
def tokens(backend: TransformersBackend) -> dict[str, Any]:
    """The likeliest next token at each position of a picture and 512 tokens of text."""
    forward = backend._forward
    prompt = backend._prompt([ChatMessage("user", "word " * 480, (open_picture(PICTURE),))], ANSWER)
    embeds, mask = forward.embed([prompt])
    likeliest = forward.model(inputs_embeds=embeds, attention_mask=mask).logits[0].argmax(-1)
    list(backend._write([prompt], ANSWER))  # a GPU's libraries load what they need at its first use
    start, cpu = time.perf_counter(), time.process_time()
    speed = _speed(len(list(backend._write([prompt], ANSWER))), start, cpu)
    return {**speed, "prompt_tokens": len(prompt.ids), "outputs": likeliest.tolist()}


def write_random(folder: Path, name: str, tokenizer: Path | None) -> Path:
    """A LLaVA directory with random weights of these shapes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

    from benchmarks.train.folders import write_models
    from llava_tuning.models.llava import assemble, load_image_processor, new_projector, save_llava

    shapes: Any = SimpleNamespace(text=SHAPES[name], picture=CLIP_L)
    llm, tower = write_models(folder, shapes, tokenizer=tokenizer)
    projector = new_projector(CLIP_L["hidden_size"], shapes.text["hidden_size"]).state_dict()
    model, processor = assemble(
        AutoModelForCausalLM.from_pretrained(llm, dtype=torch.bfloat16),
        CLIPVisionModel.from_pretrained(tower, dtype=torch.bfloat16),
        projector,
        AutoTokenizer.from_pretrained(llm),
        load_image_processor(tower),
    )
    save_llava(model, processor, folder / "llava")
    return folder / "llava"


def main() -> None:
    """Measure each mode in a process of its own, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--shapes", choices=SHAPES)
    parser.add_argument("--tokenizer", type=Path, help="model directory with one, in place of SmolLM2's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--modes", help="separated by commas; the first is what others are compared with")
    parser.add_argument("--limit", type=int, default=300, help="easy-VQA questions")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        options = (arguments.device, arguments.limit, bool(arguments.shapes))
        print(json.dumps(measure(arguments.model, arguments.child, *options)))
        return
    from benchmarks.train.report import environment

    place = arguments.device.partition(":")[0]
    names = arguments.modes.split(",") if arguments.modes else CUDA if place == "cuda" else CPU
    short = arguments.shapes or Path(arguments.model).name
    out = arguments.out or ROOT / "benchmarks" / "results" / f"memory_modes_{short}_{place}.json"
    result = environment("benchmarks.memory_modes", sys.argv) | {
        "cpu": find_machine().cpu,
        "bitsandbytes": version("bitsandbytes") if find_spec("bitsandbytes") else None,
        "model": short,
        "cpu_threads": torch.get_num_threads(),
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if arguments.shapes:
            model = str(write_random(Path(folder), arguments.shapes, arguments.tokenizer))
        reference: list[Any] = []
        for mode in names:
            row = in_a_process(model, mode, arguments)
            outputs = row.pop("outputs", [])
            reference = outputs if mode == names[0] else reference
            if outputs and reference:
                same = sum(a == b for a, b in zip(outputs, reference, strict=True))
                row[f"same_as_{names[0]}"] = round(same / len(outputs), 4)
            result["rows"].append(row)
            print(json.dumps(row), flush=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(out)


def in_a_process(model: str, mode: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a new process; what it said last where it failed."""
    words = [sys.executable, "-m", "benchmarks.memory_modes", model, "--child", mode]
    words += ["--device", arguments.device, "--limit", str(arguments.limit)]
    words += ["--shapes", arguments.shapes] if arguments.shapes else []
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return {"mode": mode, "error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


if __name__ == "__main__":
    main()
