"""A model's forward pass: prompts become input embeddings, and these logits or attention.

What becomes of the logits is in `transformers_backend.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from llava_tuning.inference.attention_map import answer_attention
from llava_tuning.inference.loading import LoadedModel
from llava_tuning.inference.prefix_cache import PictureCache, picture_key
from llava_tuning.models.llava import tokens_per_image


@dataclass(frozen=True)
class Prompt:
    """What a model reads: token ids, with its image token wherever a picture's features go."""

    ids: list[int]
    images: list[Image.Image]
    room: int  # tokens that the answer may take

    def after(self, tokens: int, image_token_id: int | None, tokens_per_image: int) -> Prompt:
        """Without its first tokens, and without the pictures that lie in them."""
        if not tokens:
            return self
        read = sum(token == image_token_id for token in self.ids[:tokens]) // max(1, tokens_per_image)
        return Prompt(self.ids[tokens:], self.images[read:], self.room)


class ForwardPass:
    """Runs a loaded model step by step, with or without pictures.

    Attributes:
        image_token_id: stands in a prompt wherever a picture's features go; None for a text model.
        tokens_per_image: how many of them a picture takes; 0 for a text model.
        image_processor: None for a text model.
        pictures: features of pictures seen lately.
    """

    def __init__(self, loaded: LoadedModel, pad_id: int) -> None:
        config = loaded.model.config
        sees = loaded.image_processor is not None
        self.model: Any = loaded.model
        self.image_token_id: int | None = config.image_token_id if sees else None
        self.tokens_per_image = tokens_per_image(config.vision_config) if sees else 0
        self.image_processor = loaded.image_processor
        self.pictures = PictureCache()
        self._pad_id = pad_id
        # transformers 5.2x renamed the argument.
        accepted = inspect.signature(type(loaded.model).forward).parameters
        self._cache_argument = "cache" if "cache" in accepted else "past_key_values"

    def new_cache(self) -> DynamicCache:
        """Keys and values of nothing yet."""
        return DynamicCache(config=self.model.config)

    def token_names(self, prompt: Prompt) -> list[Hashable]:
        """Token ids, with the picture and the place in it at a picture's positions."""
        names: list[Hashable] = list(prompt.ids)
        if prompt.images:
            places = [i for i, token in enumerate(prompt.ids) if token == self.image_token_id]
            keys = [picture_key(image) for image in prompt.images]
            for number, place in enumerate(places):
                names[place] = (keys[number // self.tokens_per_image], number % self.tokens_per_image)
        return names

    @torch.inference_mode()
    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, length, hidden) of token ids (batch, length)."""
        embeds: torch.Tensor = self.model.get_input_embeddings()(ids)
        return embeds

    @torch.inference_mode()
    def embed(self, prompts: Sequence[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded input embeddings (batch, length, hidden) and attention mask (batch, length)."""
        device = self.model.device
        length = max(len(prompt.ids) for prompt in prompts)
        padded = [[self._pad_id] * (length - len(prompt.ids)) + prompt.ids for prompt in prompts]
        mask = [[0] * (length - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
        ids = torch.tensor(padded, device=device)
        embeds = self.embed_ids(ids)
        images = [image for prompt in prompts for image in prompt.images]
        if images:
            # masked_scatter fills the picture positions in reading order, which is the order of `images`.
            features = self._encode_pictures(images).to(embeds.dtype)
            assert self.image_token_id is not None
            embeds = embeds.masked_scatter(ids.eq(self.image_token_id)[..., None], features)
        return embeds, torch.tensor(mask, device=device)

    def _encode_pictures(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Features (pictures, tokens per picture, hidden). A picture seen lately is not encoded again."""
        assert self.image_processor is not None
        keys = [picture_key(image) for image in images]
        features = {key: known for key in keys if (known := self.pictures.get(key)) is not None}
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in features}
        if new:
            pixels = self.image_processor(images=list(new.values()), return_tensors="pt")["pixel_values"]
            output = self.model.get_image_features(
                pixel_values=pixels.to(self.model.device, self.model.dtype), return_dict=True
            )
            for key, encoded in zip(new, output.pooler_output, strict=True):
                features[key] = encoded
                self.pictures.put(key, encoded)
        return torch.stack([features[key] for key in keys])

    @torch.inference_mode()
    def logits(self, embeds: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Logits (batch, vocabulary) at the last position; `cache` grows by `embeds` (batch, new, hidden)."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        output = self.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_argument: cache},
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def begin(self, prompts: Sequence[Prompt]) -> tuple[DynamicCache, torch.Tensor, Sequence[Prompt]]:
        """Read what prompts with the same picture begin with, up to its end, once for all of them.

        The same picture is the same object. Nothing is read where a prompt has no picture, where little would
        be saved, and by models whose attention reaches back only so far, which padding in between would cut.

        Returns:
            keys and values of what was read, their mask (batch, length), and what is left of each prompt.
        """
        cache = self.new_cache()
        nothing = torch.zeros(len(prompts), 0, dtype=torch.long, device=self.model.device)
        ends = [self._first_picture_end(prompt) for prompt in prompts]
        if not all(ends) or any(cache.is_sliding):
            return cache, nothing, prompts
        keys = [(id(p.images[0]), *p.ids[:end]) for p, end in zip(prompts, ends, strict=True)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        if not _is_worthwhile([len(prompt.ids) for prompt in prompts], ends, len(numbers)):
            return cache, nothing, prompts
        first = [keys.index(key) for key in numbers]
        embeds, mask = self.embed(
            [Prompt(prompts[i].ids[: ends[i]], prompts[i].images[:1], 0) for i in first]
        )
        self.logits(embeds, mask, cache)
        index = torch.tensor([numbers[key] for key in keys], device=mask.device)
        cache.batch_select_indices(index)
        rest = [
            prompt.after(end, self.image_token_id, self.tokens_per_image)
            for prompt, end in zip(prompts, ends, strict=True)
        ]
        return cache, mask[index], rest

    def _first_picture_end(self, prompt: Prompt) -> int:
        """How many tokens there are up to the end of the first picture; 0 without one."""
        if self.image_token_id is None or not prompt.images:
            return 0
        return prompt.ids.index(self.image_token_id) + self.tokens_per_image

    def attention(self, prompt: Prompt, count: int) -> torch.Tensor:
        """What the steps that wrote the prompt's last `count` tokens attended to; see `answer_attention`."""
        embeds, _ = self.embed([prompt])  # (1, length, hidden)
        language_model = self.model.model.language_model
        return answer_attention(language_model, embeds, count, self.new_cache(), self._cache_argument)


def _is_worthwhile(lengths: Sequence[int], ends: Sequence[int], distinct: int) -> bool:
    """Whether beginnings apart save a sixteenth of the work, padding counted, and take hardly more memory.

    Args:
        lengths, ends: tokens of each prompt, and of its beginning.
        distinct: how many beginnings there are.
    """
    whole = len(lengths) * max(lengths)
    rest = len(lengths) * max(length - end for length, end in zip(lengths, ends, strict=True))
    kept = len(lengths) * max(ends) + rest
    return distinct * max(ends) + rest <= whole * 15 / 16 and kept <= whole * 9 / 8
