"""What other engines look for in a model directory; test_vllm.py and test_lmdeploy.py run two of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from llava_tuning.models.llama import load_llama, save_llama


def test_weights_have_the_names_that_engines_load(default_model: Path) -> None:
    """vLLM 0.33 and LMDeploy 0.18 know the tower by the names it had before transformers 5.6."""
    with safe_open(default_model / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    parts = {name.split(".layers.")[0].rsplit(".", 1)[0] for name in names if ".layers." in name}
    assert parts == {"language_model", "vision_tower.vision_model"}
    assert {name.partition(".")[0] for name in names} == {
        "language_model",
        "vision_tower",
        "multi_modal_projector",
    }
    assert "vision_tower.vision_model.embeddings.class_embedding" in names


@pytest.mark.parametrize("kind", ["llava", "text"])
def test_configuration_says_the_rotary_base_where_transformers_4_reads_it(
    kind: str, default_model: Path, text_model: Path, tmp_path: Path
) -> None:
    """Its own default is 10,000, and it would not complain."""
    directory = default_model
    if kind == "text":
        directory = tmp_path / "text"
        save_llama(*load_llama(text_model), directory)
    config = json.loads((directory / "config.json").read_text())
    text = config["text_config"] if kind == "llava" else config
    assert text["rope_theta"] == text["rope_parameters"]["rope_theta"] == 100000.0
    assert text["rope_scaling"] is None
    assert json.loads((directory / "tokenizer_config.json").read_text())["tokenizer_class"] == (
        "PreTrainedTokenizerFast"
    )


def test_processor_says_what_engines_count_picture_tokens_by(default_model: Path) -> None:
    processor = json.loads((default_model / "processor_config.json").read_text())
    config = json.loads((default_model / "config.json").read_text())
    assert processor["patch_size"] == config["vision_config"]["patch_size"]
    assert (
        processor["vision_feature_select_strategy"] == config["vision_feature_select_strategy"] == "default"
    )
    assert processor["num_additional_image_tokens"] == 1
    assert processor["image_token"] == "<image>"
    picture = json.loads((default_model / "preprocessor_config.json").read_text())
    assert picture["do_pad"] and picture["crop_size"] == {"height": 112, "width": 112}
    assert config["image_seq_length"] == (112 // 14) ** 2


def test_no_token_of_the_text_stands_for_a_picture(default_model: Path) -> None:
    """LMDeploy puts pictures where the padding token is; the tokenizer's own ends each turn here."""
    config = json.loads((default_model / "config.json").read_text())
    assert config["pad_token_id"] == config["image_token_index"] != config["text_config"]["pad_token_id"]
