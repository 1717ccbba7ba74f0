"""What a run's model becomes when it is exported: LLaVA or a language model, and how the two are compared.

Each class holds what both sides are asked, so that `export` need not know which kind it exports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.config import Config
from PIL import Image, ImageDraw
from transformers import LlavaForConditionalGeneration
from xtuner.utils import IMAGE_TOKEN_INDEX

from llava_tuning.models.conversation import IGNORE_INDEX, Message, render_conversation
from llava_tuning.models.llama import PROBES, load_llama, probe_ids, probe_logits, save_llama
from llava_tuning.models.llava import (
    assemble,
    load_image_processor,
    load_llava,
    save_llava,
    square_pixels,
    tokens_per_image,
)
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.training.config import TEXT_STAGE
from llava_tuning.training.dataset import collate

PROBE_QUESTION = "What is in the picture?"
PROBE_SIZES = ((160, 60), (60, 160), (96, 96))  # width and height, pixels: a wide, a tall, a square picture


class Serving(Protocol):
    """The served form of a run's model."""

    probes: str  # what both sides are asked, in words

    def trained_logits(self, model: Any) -> list[torch.Tensor]:
        """(tokens, vocabulary) of each probe, by the training model."""

    def merge(self, model: Any) -> Any:
        """The model to be served; uses up the training model."""

    def logits(self, merged: Any) -> list[torch.Tensor]:
        """(tokens, vocabulary) of each probe, by the model to be served."""

    def save(self, merged: Any, out: Path) -> None:
        """Write the model directory."""

    def saved_logits(self, out: Path) -> list[torch.Tensor]:
        """(tokens, vocabulary) of each probe, by what is read back in float32."""


def serving(config: Config) -> Serving:
    """What the runs of a config are served as."""
    return ServedText(config) if config.stage == TEXT_STAGE else ServedLlava(config)


def run_tokenizer(config: Config) -> Any:
    """The tokenizer of a run's language model."""
    return load_tokenizer(Path(config.llm), name=f"llm = {config.llm}", remedy="prepare it again")


class ServedText:
    """A language model."""

    probes = "three questions"

    def __init__(self, config: Config) -> None:
        self._tokenizer = run_tokenizer(config)

    @torch.no_grad()
    def trained_logits(self, model: Any) -> list[torch.Tensor]:
        """See `Serving`."""
        rows = [probe_ids(self._tokenizer, question) for question in PROBES]
        samples = [{"input_ids": ids, "labels": [IGNORE_INDEX] * len(ids)} for ids in rows]
        return [model(collate([sample])["data"], mode="tensor")[0] for sample in samples]

    def merge(self, model: Any) -> Any:
        """See `Serving`."""
        return merged_llm(model)

    def logits(self, merged: Any) -> list[torch.Tensor]:
        """See `Serving`."""
        return probe_logits(merged, self._tokenizer)

    def save(self, merged: Any, out: Path) -> None:
        """See `Serving`."""
        save_llama(merged, self._tokenizer, out)

    def saved_logits(self, out: Path) -> list[torch.Tensor]:
        """See `Serving`."""
        return probe_logits(*load_llama(out, torch.float32))


class ServedLlava:
    """A LLaVA model: language model, vision tower and projector."""

    probes = "a wide, a tall and a square picture"

    def __init__(self, config: Config) -> None:
        self._tokenizer = run_tokenizer(config)
        self._image_processor = load_image_processor(config.vision_tower)
        self._pictures = [_probe_picture(size) for size in PROBE_SIZES]
        self._processor: Any = None

    @torch.no_grad()
    def trained_logits(self, model: Any) -> list[torch.Tensor]:
        """See `Serving`."""
        rendered = render_conversation(
            self._tokenizer,
            [Message("user", PROBE_QUESTION, images=1)],
            image_token_id=IMAGE_TOKEN_INDEX,
            tokens_per_image=tokens_per_image(model.visual_encoder.config),
            generation_prompt=True,
        )
        text = {"input_ids": rendered.input_ids, "labels": rendered.labels}
        pixels = [square_pixels(picture, self._image_processor) for picture in self._pictures]
        samples = [{**text, "pixel_values": values} for values in pixels]
        return [model(collate([sample])["data"], mode="tensor")[0] for sample in samples]

    def merge(self, model: Any) -> Any:
        """See `Serving`."""
        vision = model.visual_encoder
        if model.use_visual_encoder_lora:
            vision = vision.merge_and_unload()
        projector = {k.removeprefix("model."): v for k, v in model.projector.state_dict().items()}
        merged, self._processor = assemble(
            merged_llm(model), vision, projector, self._tokenizer, self._image_processor
        )
        return merged

    def logits(self, merged: Any) -> list[torch.Tensor]:
        """See `Serving`."""
        return self._logits(merged, self._tokenizer, self._image_processor)

    def save(self, merged: Any, out: Path) -> None:
        """See `Serving`."""
        save_llava(merged, self._processor, out)

    def saved_logits(self, out: Path) -> list[torch.Tensor]:
        """See `Serving`."""
        return self._logits(*load_llava(out, dtype=torch.float32))

    @torch.no_grad()
    def _logits(
        self, model: LlavaForConditionalGeneration, tokenizer: Any, image_processor: Any
    ) -> list[torch.Tensor]:
        vision: Any = model.config.vision_config
        rendered = render_conversation(
            tokenizer,
            [Message("user", PROBE_QUESTION, images=1)],
            image_token_id=model.config.image_token_id,
            tokens_per_image=tokens_per_image(vision),
            generation_prompt=True,
        )
        ids = torch.tensor([rendered.input_ids])
        return [
            model(
                input_ids=ids, pixel_values=image_processor(picture, return_tensors="pt")["pixel_values"]
            ).logits[0]
            for picture in self._pictures
        ]


def merged_llm(model: Any) -> Any:
    """A training model's language model with its adapter, where it has one, merged."""
    llm = model.llm.merge_and_unload() if model.use_llm_lora else model.llm
    llm.config.use_cache = True  # XTuner turns it off for training, and others read it from the directory
    return llm


def _probe_picture(size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", size, "#e8e4da")
    ImageDraw.Draw(picture).ellipse((5, 5, size[0] * 0.6, size[1] * 0.6), fill="#c03030")
    ImageDraw.Draw(picture).rectangle(
        (size[0] * 0.6, size[1] * 0.5, size[0] - 4, size[1] - 4), fill="#2050a0"
    )
    return picture
