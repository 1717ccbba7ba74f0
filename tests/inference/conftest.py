"""Backends loaded once. In float32, so that batches and single questions agree to the token."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from llava_tuning.inference.backend import load_backend
from llava_tuning.inference.transformers_backend import TransformersBackend


@pytest.fixture(scope="session")
def llava(blind_llava: Path) -> TransformersBackend:
    backend = load_backend(str(blind_llava), device="cpu", load_in="float32")
    assert isinstance(backend, TransformersBackend)
    return backend


@pytest.fixture(scope="session")
def llama(text_model: Path) -> TransformersBackend:
    backend = load_backend(str(text_model), device="cpu", load_in="float32")
    assert isinstance(backend, TransformersBackend)
    return backend


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures, in a subfolder too, a broken one and a text file."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(folder / "red.png")
    Image.new("RGB", (30, 40), "green").save(folder / "green.JPG", format="JPEG")
    Image.new("RGB", (20, 20), "blue").save(folder / "more" / "blue.webp")
    (folder / "broken.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no picture")
    return folder
