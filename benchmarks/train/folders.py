"""What a whole training run reads: model directories with random weights, JPEG files and records."""

from __future__ import annotations

import json
import random
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel, LlamaConfig

from llava_tuning.models.default import PARTS
from llava_tuning.models.llava import new_projector
from llava_tuning.models.smollm2 import smollm2_directory

if TYPE_CHECKING:  # it imports XTuner, which whoever only writes models does without
    from benchmarks.train.shapes import Shapes

SIDES = ((640, 480), (480, 640), (500, 375))  # pixels, as pictures of COCO have them
WORDS = ("red", "small", "large", "dog", "cat", "tree", "house", "under", "beside", "a", "the", "two", "with")


def write_models(
    folder: Path, shapes: Shapes, seed: int = 0, tokenizer: Path | None = None
) -> tuple[Path, Path]:
    """A language model (bfloat16) and a vision tower of these shapes, made once.

    `tokenizer` is a model directory that has one; SmolLM2's where None.

    Returns:
        their directories.
    """
    llm, tower = folder / "llm", folder / "vision_tower"
    if (folder / "complete").exists():
        return llm, tower
    source = tokenizer or smollm2_directory()
    base = json.loads((source / "config.json").read_text(encoding="utf-8"))
    special = {key: base.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**shapes.text, "vocab_size": max(shapes.text["vocab_size"], base["vocab_size"])}
    torch.manual_seed(seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**text, **special), dtype=torch.bfloat16)
        vision = CLIPVisionModel(CLIPVisionConfig(**shapes.picture))
    model.save_pretrained(llm)
    vision.save_pretrained(tower)
    for file in source.iterdir():
        if (
            file.name != "config.json"
            and file.suffix in (".json", ".jinja")
            and "safetensors" not in file.name
        ):
            shutil.copy(file, llm / file.name)
    side = shapes.picture["image_size"]
    processor = json.loads((PARTS / "vision_tower" / "preprocessor_config.json").read_text(encoding="utf-8"))
    processor |= {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    (tower / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    (folder / "complete").touch()
    return llm, tower


def write_projector(folder: Path, shapes: Shapes) -> Path:
    """A random projector as stage 1's checkpoint, for stage 2; returns its path."""
    path = folder / "projector.pth"
    if not path.exists():
        torch.manual_seed(2)
        projector = new_projector(shapes.picture["hidden_size"], shapes.text["hidden_size"])
        torch.save(
            {"state_dict": {f"projector.model.{n}": w for n, w in projector.state_dict().items()}}, path
        )
    return path


def write_pictures(folder: Path, count: int) -> None:
    """`count` JPEG files of about 100 KB, `images/N.jpg`; those that are there stay."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    missing = [folder / f"images/{i}.jpg" for i in range(count)]
    missing = [path for path in missing if not path.exists()]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_picture, missing, chunksize=16))


def _picture(path: Path) -> None:
    """Coloured clouds with noise on top, which JPEG compresses about as well as a photograph."""
    number = int(path.stem)
    generator = np.random.default_rng(number)
    size = SIDES[number % len(SIDES)]
    clouds = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    pixels = np.asarray(clouds.resize(size, Image.Resampling.BICUBIC)) + generator.normal(
        0, 6, (size[1], size[0], 3)
    )
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)


def write_records(path: Path, stage: str, count: int, pictures: int, seed: int = 0) -> None:
    """`count` conversations of one turn, with lengths as `shapes.LENGTHS` assumes them for the stage."""
    from benchmarks.train.shapes import LENGTHS, TEXT_ONLY

    draw = random.Random(seed)
    law: dict[str, Any] = LENGTHS[stage]
    records = []
    for i in range(count):
        text_only = draw.random() < law["text_only"]
        median, sigma, least, most = TEXT_ONLY if text_only else law["words"]
        words = min(max(int(median * draw.lognormvariate(0, sigma)), least), most)
        answer = max(1, int(words * law["supervised"]))
        question = " ".join(draw.choice(WORDS) for _ in range(max(1, words - answer - 10)))
        turns = [
            {"from": "human", "value": question if text_only else f"<image>\n{question}"},
            {"from": "gpt", "value": " ".join(draw.choice(WORDS) for _ in range(answer))},
        ]
        record = {"id": str(i), "conversations": turns}
        records.append(record if text_only else {**record, "image": f"images/{i % pictures}.jpg"})
    path.write_text(json.dumps(records), encoding="utf-8")
