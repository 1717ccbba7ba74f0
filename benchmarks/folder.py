"""Many questions about each picture of a folder, against `generate` on the same batches.

    python -m benchmarks.folder [MODEL] [--pictures N] [--batch N] [--rounds N]

Drawn scenes and what is asked of them, up to eight questions each, one picture's after the other, greedily
and in one process: by `answer_batch`, which reads a picture once for all its questions in a batch; by it with
that left out, so that a picture is encoded once but read for each question; and by transformers' `generate`,
which encodes it for each question. Prints questions a second and ratios, and writes
benchmarks/results/folder.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from PIL import Image

from benchmarks.train.report import environment
from llava_tuning.data.drawing import draw
from llava_tuning.data.scene_text import questions
from llava_tuning.data.scenes import scene
from llava_tuning.inference.backend import ChatMessage, GenerationSettings
from llava_tuning.inference.prefix_cache import PictureCache
from llava_tuning.inference.transformers_backend import TransformersBackend
from llava_tuning.models.default import resolve_model

RESULTS = Path(__file__).resolve().parent / "results"
SETTINGS = GenerationSettings(max_new_tokens=16, temperature=0)
SEED, SIDE = 77, 224

Asked = Sequence[tuple[str, Image.Image]]
Answer = Callable[[TransformersBackend, Asked], list[str]]


def ours(backend: TransformersBackend, asked: Asked) -> list[str]:
    """By this project's backend."""
    return backend.answer_batch([[ChatMessage("user", text, (image,))] for text, image in asked], SETTINGS)


def apart(backend: TransformersBackend, asked: Asked) -> list[str]:
    """By this project's backend, where a picture is encoded once but read for each question."""
    forward = backend._forward
    nothing = torch.zeros(len(asked), 0, dtype=torch.long, device=forward.model.device)
    with patch.object(forward, "begin", lambda prompts: (forward.new_cache(), nothing, prompts)):
        return ours(backend, asked)


@torch.inference_mode()
def generate(backend: TransformersBackend, asked: Asked) -> list[str]:
    """By transformers: prompts padded on the left, each with its picture."""
    model, tokenizer = backend._forward.model, backend._tokenizer
    prompts = [backend._render([ChatMessage("user", text, (image,))]) for text, image in asked]
    length = max(map(len, prompts))
    pad = next(iter(backend._end_ids))
    ids = torch.tensor([[pad] * (length - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    assert backend._forward.image_processor is not None
    pixels = backend._forward.image_processor(images=[image for _, image in asked], return_tensors="pt")
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        pixel_values=pixels["pixel_values"].to(model.device, model.dtype),
        do_sample=False,
        max_new_tokens=SETTINGS.max_new_tokens,
        eos_token_id=sorted(backend._end_ids),
        pad_token_id=pad,
    )[:, length:]
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in written]


def run(backend: TransformersBackend, asked: Asked, batch: int, answer: Answer) -> tuple[float, list[str]]:
    """Seconds for all of it, no picture having been seen before, and the answers."""
    backend._forward.pictures = PictureCache()
    answers: list[str] = []
    start = time.perf_counter()
    for i in range(0, len(asked), batch):
        answers += answer(backend, asked[i : i + batch])
    return time.perf_counter() - start, answers


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="as `vqa` has it")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    backend = TransformersBackend.load(resolve_model(arguments.model), arguments.model)
    drawn = [(scene(SEED, i), draw(scene(SEED, i), SIDE)) for i in range(arguments.pictures)]
    by_picture = [(q.text, image) for one, image in drawn for q in questions(one)]
    ways: dict[str, Answer] = {
        "ours": ours,
        "ours, reading it for each question": apart,
        "generate": generate,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[str]] = {}
    for number in range(1 + arguments.rounds):
        for name, way in ways.items():
            asked = by_picture if number else by_picture[: arguments.batch]  # to warm up
            taken, answers[name] = run(backend, asked, arguments.batch, way)
            if number:
                seconds[name].append(taken)
    mine = statistics.median(seconds["ours"])
    rows = []
    for name, taken in seconds.items():
        same = sum(a == b for a, b in zip(answers["ours"], answers[name], strict=True))
        rate = len(by_picture) / statistics.median(taken)
        row = {"way": name, "questions_per_s": round(rate, 2), "seconds": [round(t, 2) for t in taken]}
        rows.append(row | {"ours_is": round(statistics.median(taken) / mine, 2), "same_answers": same})
        told = f"ours is {rows[-1]['ours_is']:.2f}×  same answers {same} of {len(by_picture)}"
        print(f"{name:36s} {rate:6.2f} questions/s  {told}")
    result = environment("benchmarks.folder", sys.argv) | {
        "model": arguments.model,
        "mode": backend.mode,
        "pictures": len(drawn),
        "questions": len(by_picture),
        "batch": arguments.batch,
        "rows": rows,
    }
    out = RESULTS / "folder.json"
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
