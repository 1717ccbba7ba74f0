"""What an answer of the embedded model attended to: as transformers tells it, and where things are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import LlavaForConditionalGeneration

from llava_tuning.inference import attention_map
from llava_tuning.inference.backend import GREEDY, AttentiveBackend, ChatMessage, load_backend
from llava_tuning.inference.transformers_backend import TransformersBackend
from llava_tuning.models.conversation import Message, render_conversation

CORNERS = {"top left": (20, 20), "top right": (240, 20), "bottom left": (20, 240), "bottom right": (240, 240)}
QUESTION = "What shape is in the image?"


@pytest.fixture(scope="module")
def seeing(default_model: Path) -> TransformersBackend:
    backend = load_backend(str(default_model), device="cpu", load_in="float32")
    assert isinstance(backend, TransformersBackend)
    return backend


def picture(corner: str | None = None) -> Image.Image:
    image = Image.new("RGB", (384, 384), "#f5f0f8")
    if corner is not None:
        x, y = CORNERS[corner]
        ImageDraw.Draw(image).ellipse((x, y, x + 120, y + 120), fill="red")
    return image


def quarters(weights: torch.Tensor) -> dict[str, float]:
    rows, columns = weights.shape[0] // 2, weights.shape[1] // 2
    means = [
        half.mean().item()
        for part in (weights[:rows], weights[rows:])
        for half in (part[:, :columns], part[:, columns:])
    ]
    return dict(zip(CORNERS, means, strict=True))


def told_by_transformers(directory: Path, backend: TransformersBackend, image: Image.Image, answer: str):
    """(8, 8) from one forward pass that returns every layer's attention."""
    model = LlavaForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    turns = [Message("user", QUESTION, 1), Message("assistant", answer)]
    rendered = render_conversation(
        backend._tokenizer, turns, image_token_id=model.config.image_token_id, tokens_per_image=64
    )
    written = [place for place, label in enumerate(rendered.labels) if label != -100][:-1]  # without the end
    ids = torch.tensor([rendered.input_ids])
    pixels = backend._forward.image_processor(images=[image], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        output = model(input_ids=ids, pixel_values=pixels, output_attentions=True)
    upper = torch.stack(output.attentions[15:])[:, 0]  # (15 layers, heads, length, length)
    steps = upper[:, :, torch.tensor(written) - 1].mean((0, 1, 2))
    return steps[ids[0] == model.config.image_token_id].reshape(8, 8)


@pytest.mark.parametrize("chunk", [64, 2])
def test_the_weights_are_those_that_transformers_tells(seeing, default_model, monkeypatch, chunk):
    monkeypatch.setattr(attention_map, "CHUNK_TOKENS", chunk)
    answer = "There is a red circle in the image."
    image = picture("top right")
    (found,) = seeing.picture_attention([ChatMessage("user", QUESTION, (image,))], answer)
    assert found.image is image
    expected = told_by_transformers(default_model, seeing, image, answer)
    torch.testing.assert_close(found.weights, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("corner", CORNERS)
def test_it_looks_where_the_shape_is(seeing, corner):
    def look(image: Image.Image) -> dict[str, float]:
        (found,) = seeing.picture_attention([ChatMessage("user", QUESTION, (image,))], "circle")
        return quarters(found.weights)

    shape, blank = look(picture(corner)), look(picture())
    assert shape[corner] > 2 * blank[corner]  # to the top left it turns where nothing is, too
    assert all(shape[corner] > 4 * weight for other, weight in shape.items() if other != corner)


def test_each_picture_of_the_conversation_has_weights_of_its_own(seeing):
    first, second = picture("top left"), picture("bottom right")
    conversation = [
        ChatMessage("user", QUESTION, (first,)),
        ChatMessage("assistant", "circle"),
        ChatMessage("user", "And in this one?", (second,)),
    ]
    found = seeing.picture_attention(conversation, "circle")
    assert [one.image for one in found] == [first, second]
    assert all(one.weights.shape == (8, 8) and one.weights.min() >= 0 for one in found)
    assert 0 < sum(one.weights.sum() for one in found) < 1


def test_the_model_answers_afterwards_as_before(seeing):
    conversation = [ChatMessage("user", "Describe the picture.", (picture("top left"),))]
    before = seeing.answer_batch([conversation], GREEDY)
    decoder = seeing._forward.model.model.language_model
    usual = decoder.config._attn_implementation
    seeing.picture_attention(conversation, before[0])
    assert decoder.config._attn_implementation == usual != "eager"
    assert not any(layer.self_attn._forward_hooks for layer in decoder.layers)
    assert seeing.answer_batch([conversation], GREEDY) == before


def test_a_failure_leaves_the_model_as_it_was(seeing, monkeypatch):
    decoder = seeing._forward.model.model.language_model
    usual = decoder.config._attn_implementation
    monkeypatch.setattr(attention_map, "CHUNK_TOKENS", 0)  # no steps: range() refuses
    with pytest.raises(ValueError):
        seeing.picture_attention([ChatMessage("user", QUESTION, (picture(),))], "circle")
    assert decoder.config._attn_implementation == usual
    assert not any(layer.self_attn._forward_hooks for layer in decoder.layers)


def test_without_a_picture_or_an_answer_there_is_nothing(seeing):
    assert seeing.picture_attention([ChatMessage("user", "Hello")], "Hi.") == []
    assert seeing.picture_attention([ChatMessage("user", QUESTION, (picture(),))], " ") == []


def test_who_can_tell_is_known_by_type(seeing):
    assert isinstance(seeing, AttentiveBackend)
