"""llama.cpp itself on the exported files: the same answers as here. Needs `pip install llama-cpp-python`."""

from __future__ import annotations

import base64
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.gguf_export.export import GgufFiles, export_gguf
from llava_tuning.models.llava import load_llava
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.tokenizer import load_tokenizer

llama_cpp = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is not installed; it compiles llama.cpp, see docs/serving.md"
)
pytestmark = pytest.mark.slow

SAMPLES = sorted((Path(__file__).resolve().parents[2] / "assets" / "samples").glob("*.png"))
TEXTS = ["What is the capital of France?", "Name three animals.", "Write one sentence about the sea."]
PICTURES = ["What shape is in the image?", "What color is the shape?", "Is there a circle?"]


@pytest.fixture(scope="module")
def files(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> GgufFiles:
    return export_gguf(default_model, tmp_path_factory.mktemp("gguf") / "out", "demo", "float32")


@pytest.fixture(scope="module")
def llama(files: GgufFiles) -> Iterator[Any]:
    from llama_cpp.llama_chat_format import MTMDChatHandler

    handler = MTMDChatHandler(str(files.mmproj), verbose=False)
    model = llama_cpp.Llama(str(files.model), chat_handler=handler, n_ctx=1024, verbose=False)
    handler._init_mtmd_context(model)
    yield model
    model.close()


@pytest.fixture(scope="module")
def ours(default_model: Path) -> Any:
    return load_backend(str(default_model), device="cpu", load_in="float32")


@pytest.mark.parametrize("picture", [None, *SAMPLES], ids=lambda picture: picture.stem if picture else "text")
def test_answers_are_ours(llama: Any, ours: Any, picture: Path | None) -> None:
    for question in TEXTS if picture is None else PICTURES:
        content: Any = question
        if picture is not None:
            url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
            content = [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": question},
            ]
        reply = llama.create_chat_completion(
            [{"role": "user", "content": content}], temperature=0, max_tokens=24, repeat_penalty=1.0
        )
        images = () if picture is None else (open_picture(picture),)
        settings = GenerationSettings(temperature=0, max_new_tokens=24)
        expected = "".join(ours.stream([ChatMessage("user", question, images)], settings))
        assert reply["choices"][0]["message"]["content"].strip() == expected.strip(), question


def test_prompt_is_ours_to_the_token(llama: Any, default_model: Path) -> None:
    """The picture apart, which stands for as many positions as it has features."""
    tokenizer = load_tokenizer(default_model, name="default", remedy="")
    handler, mtmd = llama.chat_handler, llama.chat_handler._mtmd_cpp
    url = "data:image/png;base64," + base64.b64encode(SAMPLES[0].read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": PICTURES[0]}]
    reply = handler(llama=llama, messages=[{"role": "user", "content": content}], max_tokens=1, temperature=0)
    ids = render_conversation(
        tokenizer,
        [Message("user", PICTURES[0], 1)],
        image_token_id=49152,
        tokens_per_image=64,
        generation_prompt=True,
    ).input_ids
    assert reply["usage"]["prompt_tokens"] == len(ids)
    read = [number for number in llama.input_ids[: len(ids)].tolist() if number > 0]
    assert mtmd.mtmd_support_vision(handler.mtmd_ctx)
    start = ids.index(49152)
    assert read[:start] == ids[:start] and read[-5:] == ids[-5:]


@pytest.mark.parametrize("picture", SAMPLES, ids=lambda picture: picture.stem)
def test_features_are_ours_but_for_the_place_of_the_class_token(
    llama: Any, default_model: Path, picture: Path
) -> None:
    """llama.cpp since May 2025 puts the class token last, which shifts the patches: docs/serving.md."""
    model, _, processor = load_llava(default_model, torch.float32)
    pixels = processor(images=[open_picture(picture)], return_tensors="pt")["pixel_values"]
    found = features(llama, picture)
    with torch.no_grad():
        right = model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output[0].numpy()
        shifted = class_token_last(model, pixels).numpy()
    assert found.shape == right.shape == (64, 576)
    closest = min(np.abs(found - right).max(), np.abs(found - shifted).max())
    assert closest < 0.1 < np.abs(right).max() / 100  # llama.cpp computes GELU from a table of float16


def features(llama: Any, picture: Path) -> np.ndarray:
    """(tokens, hidden) of what llama.cpp's language model is given for a picture."""
    handler, mtmd = llama.chat_handler, llama.chat_handler._mtmd_cpp
    bitmap = handler._create_bitmap_from_bytes(picture.read_bytes())
    text = mtmd.mtmd_input_text()
    text.text = mtmd.mtmd_default_marker()
    text.text_len = len(mtmd.mtmd_default_marker())
    text.add_special, text.parse_special = False, True
    chunks = mtmd.mtmd_input_chunks_init()
    bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
    assert mtmd.mtmd_tokenize(handler.mtmd_ctx, chunks, ctypes.byref(text), bitmaps, 1) == 0
    parts = [mtmd.mtmd_input_chunks_get(chunks, i) for i in range(mtmd.mtmd_input_chunks_size(chunks))]
    chunk = next(c for c in parts if mtmd.mtmd_input_chunk_get_type(c) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE)
    assert mtmd.mtmd_encode_chunk(handler.mtmd_ctx, chunk) == 0
    shape = (mtmd.mtmd_input_chunk_get_n_tokens(chunk), llama.n_embd())
    found: np.ndarray = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(handler.mtmd_ctx), shape).copy()
    mtmd.mtmd_input_chunks_free(chunks)
    mtmd.mtmd_bitmap_free(bitmap)
    return found


def class_token_last(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(tokens, hidden): positions counted from the first patch, and features taken from the second on."""
    tower = model.model.vision_tower
    embeddings = tower.embeddings
    patches = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)  # (1, patches, hidden)
    tokens = torch.cat([patches, embeddings.class_embedding.expand(1, 1, -1)], dim=1)
    hidden = tower.pre_layrnorm(tokens + embeddings.position_embedding.weight)
    for layer in tower.encoder.layers[:-1]:
        output = layer(hidden, attention_mask=None)
        hidden = output[0] if isinstance(output, tuple) else output
    projected: torch.Tensor = model.model.multi_modal_projector(hidden[:, 1:])[0]
    return projected
