"""Do a picture encoder's outputs hold what an emoji shows? Nearest neighbours, no training.

    python -m benchmarks.encoder_names data/everyday [--tower DIR]

A drawing of a style that was never trained on (Noto) gets the name of the most similar training drawing: by
the position that stands for the whole picture (what contrastive training compares), and by the patches of the
layer before the last (what a language model in LLaVA reads), their mean and all of them side by side. Chance
is about one in a thousand. Writes benchmarks/results/encoder_names.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import CLIPVisionModel

from benchmarks.train.report import environment
from llava_tuning.data.everyday.table import EverydayPicture, read_table
from llava_tuning.evaluation.scoring import Score
from llava_tuning.models.default import PARTS
from llava_tuning.models.llava import load_image_processor
from llava_tuning.models.pictures import open_picture

OUT = Path(__file__).resolve().parent / "results" / "encoder_names.json"
TEST_STYLE = "noto"
# Clip art's titles are noisy, stamps have names of their own.
LEFT_OUT = (TEST_STYLE, "openclipart", "tuxpaint")
BATCH = 64


@torch.inference_mode()
def features(tower: Any, processor: Any, files: list[Path]) -> dict[str, torch.Tensor]:
    """(pictures, features) of each way to read the encoder's outputs, drawings on white."""
    found: dict[str, list[torch.Tensor]] = {"whole picture": [], "patches, mean": [], "patches": []}
    for begin in range(0, len(files), BATCH):
        pictures = [open_picture(file) for file in files[begin : begin + BATCH]]
        pixels = processor(pictures, return_tensors="pt")["pixel_values"]
        output = tower(pixel_values=pixels, output_hidden_states=True)
        patches = output.hidden_states[-2][:, 1:]
        found["whole picture"].append(output.pooler_output)
        found["patches, mean"].append(patches.mean(1))
        found["patches"].append(patches.flatten(1))
    return {name: torch.cat(parts) for name, parts in found.items()}


def named(known: torch.Tensor, names: list[str], asked: torch.Tensor) -> list[str]:
    """The name of the most similar known drawing, by cosine about their mean."""
    centre = known.mean(0)
    similarity = functional.normalize(asked - centre, dim=-1) @ functional.normalize(known - centre, dim=-1).T
    return [names[i] for i in similarity.argmax(1).tolist()]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("everyday", type=Path, help="folder that `data everyday` wrote")
    parser.add_argument("--tower", type=Path, default=PARTS / "vision_tower")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    table: list[EverydayPicture] = read_table(arguments.everyday)
    tower = CLIPVisionModel.from_pretrained(arguments.tower, dtype=torch.float32).eval()
    processor = load_image_processor(arguments.tower)
    groups = (
        [row for row in table if row.style not in LEFT_OUT],
        [row for row in table if row.style == TEST_STYLE],
    )
    known, asked = (
        features(tower, processor, [arguments.everyday / r.file for r in rows]) for rows in groups
    )
    names, right = ([row.name for row in rows] for rows in groups)
    result = environment("benchmarks.encoder_names", sys.argv) | {"known": len(names), "rows": []}
    for way in known:
        hits = sum(a == b for a, b in zip(named(known[way], names, asked[way]), right, strict=True))
        score = Score(hits, len(right))
        result["rows"].append({"by": way, **score.to_dict()})
        low, high = score.interval
        print(f"{way:14s} {score.accuracy:6.1%} ({low:.1%} to {high:.1%}; {score.total})", flush=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)


if __name__ == "__main__":
    main()
