"""Pictures a second on one core: from a JPEG file to the pixels that training reads.

    python -m benchmarks.pictures

Three ways to the same square picture: transformers' processor with Pillow as serving calls it, the project's
`square_pixels`, and transformers' processor with torchvision, whose pixels differ. Writes
benchmarks/results/pictures.json.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.models.llava.image_processing_llava import LlavaImageProcessor
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from benchmarks.train.report import environment
from llava_tuning.models.llava import square_pixels
from llava_tuning.models.pictures import open_picture

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = ((336, 448), (500, 375), (640, 480))  # as photographs of the LLaVA sets often have them
PICTURES, ROUNDS, SIDE = 60, 5, 336
PROCESSOR = {"do_pad": True, "size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
BYTES = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}


def jpegs() -> list[bytes]:
    """Smooth random pictures, encoded."""
    random = np.random.default_rng(0)
    files = []
    for i in range(PICTURES):
        width, height = SIZES[i % len(SIZES)]
        coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(
            stream, "JPEG", quality=90
        )
        files.append(stream.getvalue())
    return files


def rate(read: Callable[[bytes], Any], files: list[bytes]) -> float:
    """Pictures a second, median of the rounds after the first."""
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for file in files:
            read(file)
        rates.append(len(files) / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def main() -> None:
    """Measure, compare pixels, print and write."""
    torch.set_num_threads(1)
    files = jpegs()
    pillow, torchvision = LlavaImageProcessorPil(**PROCESSOR), LlavaImageProcessor(**PROCESSOR)
    ways: dict[str, Callable[[bytes], torch.Tensor]] = {
        "transformers with Pillow, normalised": lambda f: pillow(open_picture(f), return_tensors="pt")[
            "pixel_values"
        ][0],
        "transformers with Pillow": lambda f: pillow(open_picture(f), **BYTES)["pixel_values"][0],
        "square_pixels": lambda f: square_pixels(open_picture(f), pillow),
        "transformers with torchvision": lambda f: torchvision(open_picture(f), **BYTES)["pixel_values"][0],
    }
    reference = ways["transformers with Pillow"]
    first = "transformers with Pillow, normalised"
    rows = []
    for name, read in ways.items():
        row: dict[str, Any] = {"way": name, "pictures_per_s": round(rate(read, files), 1)}
        row["ratio"] = round(
            row["pictures_per_s"] / (rows[0]["pictures_per_s"] if rows else row["pictures_per_s"]), 2
        )
        if name != first:
            differences = [(read(f).int() - reference(f).int()).abs().max().item() for f in files[:12]]
            row["largest_difference_of_a_pixel"] = max(differences)
        rows.append(row)
        print(row)
    out = RESULTS / "pictures.json"
    out.write_text(
        json.dumps({**environment("benchmarks.pictures", sys.argv), "rows": rows}, indent=1) + "\n"
    )
    print(out)


if __name__ == "__main__":
    main()
