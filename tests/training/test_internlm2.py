"""The InternLM2 road: checkpoint, prepared model, stage 1, stage 2 by LoRA, export, chat."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import torch

from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.provenance import read_provenance

pytestmark = pytest.mark.training
REFERENCE = Path(__file__).resolve().parents[2] / ".." / "shared" / "internlm2" / "tiny_chat"
STAGE_1 = "llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_pretrain"
STAGE_2 = "llava_internlm2_chat_1_8b_lora_clip_vit_large_p14_336_e1_gpu8_finetune"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run `llava-tuning` as a user does, in a folder of its own; returns what it printed."""
    folder = tmp_path_factory.mktemp("internlm2")

    def run(*arguments: str | Path) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            line = [sys.executable, "-m", "llava_tuning", *map(str, arguments)]
            result = forked.run(line, capture_output=True, cwd=folder)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    run.folder = folder  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def model(command: Callable[..., str], settings: Callable[..., list[str]], data: Path) -> Path:
    """The model directory at the road's end, made by the four commands of the configs' headers."""
    if not (REFERENCE / "model.safetensors").is_file():
        pytest.skip("InternLM2's reference data (../shared/internlm2) is not there")
    command("prepare", REFERENCE.resolve(), "--out", "llm")

    def train(config: str, **changes: object) -> str:
        pairs = settings(llm="llm", max_steps=2, **changes)
        return command("train", config, *(part for pair in pairs for part in ("--set", pair)))

    said = train(STAGE_1, data_path=data / "pretrain.json")
    assert "stage       pretrain: projector\n" in said and f"writing to  work_dirs/{STAGE_1}" in said
    checkpoint = f"work_dirs/{STAGE_1}/iter_2.pth"
    said = train(STAGE_2, projector_checkpoint=checkpoint, **{"llm_lora.r": 4})
    assert "language model by LoRA (rank 4)" in said
    said = command("export", f"work_dirs/{STAGE_2}", "--out", "assistant")
    assert said.startswith("assistant: written and read back.")
    return Path(command.folder / "assistant")  # type: ignore[attr-defined]


def test_the_assistant_chats_with_a_picture_and_without(model: Path, data: Path) -> None:
    backend = load_backend(str(model), device="cpu")
    assert backend.sees and backend.max_length == 32768
    settings = GenerationSettings(temperature=0, max_new_tokens=8)
    picture = open_picture(next(iter(sorted((data / "images" / "test").iterdir()))))
    question = [ChatMessage("user", "What is it?", (picture,))]
    answer = "".join(backend.stream(question, settings))
    assert answer.strip()
    assert "".join(backend.stream([ChatMessage("user", "你好")], settings)).strip()
    assert backend.answer_batch([question], settings) == [answer.strip()]


def test_it_is_a_native_llava_that_says_where_it_comes_from(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["model_type"] == "llava" and config["text_config"]["model_type"] == "llama"
    assert config["image_token_index"] == 92544  # the first id after InternLM2's own
    assert "auto_map" not in json.dumps(config) and not list(model.glob("*.py"))
    provenance = read_provenance(model)
    assert provenance is not None and provenance.stage == "finetune"
    assert [base.role for base in provenance.base_models] == ["language model", "vision tower"]
    assert provenance.config_name == STAGE_2


def test_stage_2_learned_and_began_with_stage_1s_projector(model: Path) -> None:
    runs = model.parent / "work_dirs"
    first, second = (
        torch.load(runs / name / "iter_2.pth", weights_only=True)["state_dict"] for name in (STAGE_1, STAGE_2)
    )
    for name, tensor in first.items():
        moved = (second[name] - tensor).abs().max()
        assert 0 < moved < 1e-3  # two steps of at most 2e-4 each, from stage 1's values
    assert any(".lora_B." in name and tensor.any() for name, tensor in second.items())
