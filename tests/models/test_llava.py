"""Pictures for training: the same pixels as serving's processor makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_tuning.models.llava import load_image_processor, square_pixels

MEAN = [0.48, 0.46, 0.41]
SIZES = [(640, 200), (200, 640), (336, 336), (97, 96), (5, 3), (1, 1)]


@pytest.mark.parametrize("size", SIZES, ids=[f"{w}x{h}" for w, h in SIZES])
@pytest.mark.parametrize("side", [96, 336])
def test_a_square_picture_is_what_transformers_processor_makes(
    size: tuple[int, int], side: int, tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"crop_size": side, "image_mean": MEAN, "image_std": [0.27, 0.26, 0.28], "resample": 3})
    )
    processor = load_image_processor(tmp_path)
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    expected = processor(picture, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][
        0
    ]
    found = square_pixels(picture, processor)
    assert found.shape == (3, side, side) and found.is_contiguous()
    assert np.array_equal(found.numpy(), expected.numpy())
