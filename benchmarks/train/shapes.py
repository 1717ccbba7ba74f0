"""Model shapes with random weights, and batches with lengths like LLaVA's data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from llava_tuning.models.llava import new_projector
from llava_tuning.models.shapes import CLIP_L, CLIP_SMALL, INTERNLM2_1_8B, INTERNLM2_7B, SMOLLM2_135M
from llava_tuning.training.dataset import RecordsDataset
from llava_tuning.training.estimate import Load, Training
from llava_tuning.training.model import accept_bytes, load_vision_tower
from llava_tuning.training.plan import count, lora_size

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Shapes:
    """A language model's and a vision tower's shapes, and the batch sizes of a step in stage 1 and 2."""

    text: dict[str, Any]
    picture: dict[str, Any]
    batch: dict[str, int]
    dtype: torch.dtype = torch.bfloat16
    weights: tuple[str, str] | None = None  # directories to load them from; None for random ones

    @property
    def patches(self) -> int:
        return int((self.picture["image_size"] // self.picture["patch_size"]) ** 2)


SHAPES = {
    "internlm2_1_8b": Shapes(INTERNLM2_1_8B, CLIP_L, {"pretrain": 32, "finetune": 16}),
    "internlm2_7b": Shapes(INTERNLM2_7B, CLIP_L, {"pretrain": 32, "finetune": 16}),
    "demo": Shapes(SMOLLM2_135M, CLIP_SMALL, {"pretrain": 16, "finetune": 8}),
    "tiny": Shapes(
        {
            "vocab_size": 500,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": False,
        },
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
        },
        {"pretrain": 4, "finetune": 4},
    ),
}


def build_llm(shapes: Shapes, dtype: torch.dtype, attention: str, device: str) -> LlamaForCausalLM:
    """The language model with random weights, the same for every caller; or those of `shapes.weights`."""
    if shapes.weights is not None:
        loaded: Any = LlamaForCausalLM.from_pretrained(
            shapes.weights[0], dtype=dtype, attn_implementation=attention
        )
        model: LlamaForCausalLM = loaded.to(device)
        return model
    torch.manual_seed(0)
    with torch.device(device):
        config = LlamaConfig(**shapes.text, attn_implementation=attention)
        model = LlamaForCausalLM(config).to(dtype)
    return model


def build_vision_tower(shapes: Shapes, dtype: torch.dtype, device: str) -> CLIPVisionModel:
    """The vision tower, likewise; our model can give it uint8 pictures."""
    if shapes.weights is not None:
        return load_vision_tower(shapes.weights[1], str(dtype).removeprefix("torch.")).to(device)
    torch.manual_seed(1)
    with torch.device(device):
        config = CLIPVisionConfig(**shapes.picture, attn_implementation="sdpa")
        tower = CLIPVisionModel(config).to(dtype)
        accept_bytes(tower, CLIP_MEAN, CLIP_STD)
    return tower


@dataclass
class Sample:
    """Token ids with a picture's positions laid out, labels, and the picture, (3, side, side) uint8."""

    ids: torch.Tensor
    labels: torch.Tensor
    picture: torch.Tensor | None

    @property
    def supervised(self) -> int:
        return int((self.labels[1:] != IGNORE_INDEX).sum())


@dataclass
class Batch:
    """A step's samples."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(len(sample.ids) for sample in self.samples)


# What is assumed of LLaVA's data: words besides the picture, lognormal (median, sigma, least, most tokens),
# the share of them that is trained on, and the share of samples without a picture. Pretraining captions are
# a sentence; the finetuning mixture has conversations of several turns and 6 % text of ShareGPT
# (40,000 of 665,000: arXiv:2310.03744, table 7). Lengths are this project's assumption, not a count.
LENGTHS = {
    "pretrain": {"words": (45, 0.25, 30, 120), "supervised": 0.45, "text_only": 0.0},
    "finetune": {"words": (180, 0.7, 40, 1400), "supervised": 0.5, "text_only": 0.06},
}
TEXT_ONLY = (800, 0.6, 100, 2000)


def make_batches(shapes: Shapes, stage: str, size: int, count: int, seed: int = 0) -> list[Batch]:
    """`count` batches; in finetuning, of samples of like length, as XTuner's and LLaVA's samplers do."""
    random = torch.Generator().manual_seed(seed)
    law = LENGTHS[stage]
    samples = []
    for _ in range(max(count, 16) * size):
        text_only = bool(torch.rand((), generator=random) < law["text_only"])
        median, sigma, least, most = TEXT_ONLY if text_only else law["words"]
        words = int(median * torch.exp(sigma * torch.randn((), generator=random)))
        samples.append((text_only, min(max(words, least), most)))
    if stage == "finetune":
        samples.sort(key=lambda sample: (sample[0], sample[1]))
    grouped = [samples[i : i + size] for i in range(0, len(samples), size)]
    chosen = torch.randperm(len(grouped), generator=random)[:count].tolist()
    return [Batch([_sample(shapes, law, *sample, random) for sample in grouped[i]]) for i in chosen]


def read_batches(folder: Path, stage: str, weights: tuple[str, str], size: int, count: int) -> list[Batch]:
    """The first batches, in a fixed random order, of records that `llava-tuning data` wrote into `folder`."""
    data = RecordsDataset(str(folder / f"{stage}.json"), str(folder), *weights, max_length=512)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    out = []
    for step in range(count):
        rows = [data[order[(step * size + i) % len(order)]] for i in range(size)]
        out.append(Batch([Sample(r["input_ids"], r["labels"], r.get("pixel_values")) for r in rows]))
    return out


def _sample(
    shapes: Shapes, law: dict[str, Any], text_only: bool, words: int, random: torch.Generator
) -> Sample:
    ids = torch.randint(3, shapes.text["vocab_size"], (words,), generator=random)
    labels = torch.full_like(ids, IGNORE_INDEX)
    trained = max(1, int(words * law["supervised"]))
    labels[-trained:] = ids[-trained:]
    if text_only:
        return Sample(ids, labels, None)
    before = 8  # of the template
    marks = torch.full((shapes.patches,), IMAGE_TOKEN_INDEX)
    ids = torch.cat([ids[:before], marks, ids[before:]])
    labels = torch.cat([labels[:before], torch.full_like(marks, IGNORE_INDEX), labels[before:]])
    side = shapes.picture["image_size"]
    picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=random)
    return Sample(ids, labels, picture)


def training_of(shapes: Shapes, task: Any) -> Training:
    """What `estimate` needs to know of shapes and a task of `steps.TASKS`."""
    text, picture = LlamaConfig(**shapes.text), CLIPVisionConfig(**shapes.picture)
    with torch.device("meta"):
        llm, tower = LlamaForCausalLM(text), CLIPVisionModel(picture)
        projector = new_projector(picture.hidden_size, text.hidden_size)
    whole = count(llm) if task.kind == "full" else 0
    trained = count(projector) + whole
    trained += lora_size(llm, {"r": task.rank}) + lora_size(tower, {"r": task.vision_rank})
    return Training(
        text,
        picture,
        full=task.kind == "full",
        rank=task.rank,
        dropout=task.dropout,
        vision_rank=task.vision_rank,
        four_bit=task.four_bit is not None,
        trained_parameters=trained,
        frozen_parameters=count(llm) + count(tower) - whole,
    )


def load_of(batch: Batch) -> Load:
    """Tokens, labels and pictures of a batch."""
    pictures = sum(sample.picture is not None for sample in batch.samples)
    return Load.of([len(s.ids) for s in batch.samples], [s.supervised for s in batch.samples], pictures)
