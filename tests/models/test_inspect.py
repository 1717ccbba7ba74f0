from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import forked
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from llava_tuning.errors import UserError
from llava_tuning.models.inspect import describe
from llava_tuning.models.provenance import BaseModelSource, Provenance, write_provenance


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tower")
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    CLIPVisionModel(config).save_pretrained(directory)
    CLIPImageProcessor(crop_size={"height": 56, "width": 56}).save_pretrained(directory)
    return directory


def rows(path: Path) -> tuple[str, dict[str, str]]:
    description = describe(path)
    return description.kind, dict(description.rows)


def test_a_prepared_language_model(tiny_llama: Path) -> None:
    kind, found = rows(tiny_llama)
    assert kind == "language model (Llama)"
    assert found["size"] == "llama, 3 layers, hidden 32, 4 heads (2 key/value)"
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    assert found["parameters"] == f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M"
    assert found["dtype"] == "bfloat16"
    assert found["template"] == "ChatML"
    assert found["from language model"] == "tiny_chat"


def test_an_unprepared_checkpoint_names_the_next_step(tiny_chat: Path) -> None:
    kind, found = rows(tiny_chat)
    assert "InternLM2 checkpoint" in kind and "prepare" in kind
    assert found["provenance"] == "none recorded"


def test_a_vision_tower(tower: Path) -> None:
    kind, found = rows(tower)
    assert kind == "CLIP vision tower"
    assert found["tokens per picture"] == "16"
    assert found["picture"] == "56×56 pixels, patches of 14, cropped to a square"
    assert found["dtype"] == "float32"


def test_a_llava_directory(tiny_llama: Path, tower: Path, tmp_path: Path) -> None:
    from llava_tuning.models.llava import assemble, load_image_processor, new_projector, save_llava

    llm = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    vision = CLIPVisionModel.from_pretrained(tower)
    projector = new_projector(16, 32)
    model, processor = assemble(
        llm,
        vision,
        projector.state_dict(),
        AutoTokenizer.from_pretrained(tiny_llama),
        load_image_processor(tower),
    )
    save_llava(model, processor, tmp_path)
    sources = [BaseModelSource(role="vision tower", name="clip", revision="v1")]
    write_provenance(tmp_path, Provenance(stage="finetune", base_models=sources, scores={"easy-vqa": 0.875}))
    kind, found = rows(tmp_path)
    assert kind == "LLaVA model directory"
    parts = {
        "language model": model.model.language_model.num_parameters() + model.lm_head.weight.numel(),
        "projector": sum(p.numel() for p in model.model.multi_modal_projector.parameters()),
        "vision tower": sum(p.numel() for p in model.model.vision_tower.parameters()),
    }
    for part, count in parts.items():
        assert f"{part} {count / 1e6:.2f} M" in found["parameters"]
    assert found["tokens per picture"] == "16"
    assert found["picture"].endswith("padded to a square")
    assert found["template"] == "ChatML"
    assert found["stage"] == "finetune"
    assert found["from vision tower"] == "clip (v1)"
    assert found["score"] == "easy-vqa: 0.875"


def test_an_adapter(tiny_llama: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    adapted.save_pretrained(tmp_path)
    kind, found = rows(tmp_path)
    assert kind == "adapter (LORA)"
    assert (found["rank"], found["alpha"], found["modules"]) == ("4", "8", "q_proj, v_proj")
    assert found["base model"] == str(tiny_llama)
    assert found["parameters"] == f"{adapted.get_nb_trainable_parameters()[0] / 1e6:.2f} M"


def test_a_training_run_lists_its_checkpoints_in_order(tmp_path: Path) -> None:
    for step in (1000, 200):
        (tmp_path / f"iter_{step}.pth").write_bytes(b"0" * 2_000_000)
    (tmp_path / "config.py").touch()
    description = describe(tmp_path)
    assert description.kind.startswith("training run") and "export" in description.kind
    checkpoints = [text for label, text in description.rows if label == "checkpoint"]
    assert checkpoints == ["iter_200.pth (2.0 MB)", "iter_1000.pth (2.0 MB)"]
    assert ("step", "1000") in describe(tmp_path / "iter_1000.pth").rows


def test_what_is_unknown_or_broken_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        describe(tmp_path / "gone")
    with pytest.raises(UserError, match="neither a model directory"):
        describe(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(UserError, match="a t5 model; known are llava"):
        describe(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not valid JSON"):
        describe(tmp_path)
    shutil.copyfile(tiny_llama / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match="holds no weights"):
        describe(tmp_path)


def test_the_command_prints_and_fails_as_promised(tiny_llama: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llava_tuning", "inspect"]
    result = forked.run([*command, str(tiny_llama)], capture_output=True)
    assert result.returncode == 0
    assert result.stdout.startswith("language model (Llama)\n")
    result = forked.run([*command, str(tmp_path)], capture_output=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and str(tmp_path) in result.stderr
