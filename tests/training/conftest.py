"""Tiny base models, a handful of pictures, and runs of XTuner that all tests of this folder share.

The language model is a Llama of two layers over bytes, so one character of ASCII is one token.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from mmengine.config import Config
from peft.tuners.lora import LoraLayer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.data.easy_vqa import write_easy_vqa
from llava_tuning.data.records import make_record, write_json
from llava_tuning.training import compat

compat.apply()

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIDE, PATCH = 32, 8  # pixels: 16 positions a picture
PRETRAIN = "llava_smollm2_135m_clip_small_p14_112_e1_pretrain"
LORA = "llava_smollm2_135m_lora_clip_small_p14_112_e1_finetune"
FULL = "llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_finetune"
TEXT_LORA = "smollm2_135m_lora_assistant_e3_sft"
TEXT_FULL = "internlm2_chat_1_8b_full_assistant_e3_sft"
VISION_LORA = "llava_internlm2_chat_1_8b_qlora_clip_vit_large_p14_336_lora_e1_gpu8_finetune"
# What takes LLaVA's settings out of `settings`; rows of about three records.
TEXT: dict[str, object] = {
    "vision_tower": None,
    "image_folder": None,
    "evaluation_images": [],
    "batch_tokens": 400,
    "accumulative_counts": 1,
}
# What makes each config small; runs of QLoRA need a GPU, so its base stays whole here.
SMALL: dict[str, dict[str, object]] = {
    "pretrain": {},
    "lora": {"llm_lora.r": 4},
    "full": {},
    "text_lora": {"llm_lora.r": 4, "llm_lora.lora_dropout": 0.0, **TEXT},
    "text_full": TEXT,
    "vision_lora": {"llm_lora.r": 4, "visual_encoder_lora.r": 4, "load_in_4bit": False},
}
CONFIGS = {
    "pretrain": PRETRAIN,
    "lora": LORA,
    "full": FULL,
    "vision_lora": VISION_LORA,
    "text_lora": TEXT_LORA,
    "text_full": TEXT_FULL,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose by a second thread, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared language model: random weights, byte tokens, ChatML."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        )
    )
    out = tmp_path_factory.mktemp("base") / "llm"
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def vision_tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP encoder of three layers with its picture processor."""
    torch.manual_seed(1)
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=PATCH,
            projection_dim=16,
        )
    )
    out = tmp_path_factory.mktemp("base") / "vision_tower"
    tower.save_pretrained(out)
    LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of easy-VQA: `pretrain.json`, `finetune.json`, and `mixed.json` with text-only records.

    The first record of `mixed.json` has no picture, which makes XTuner's own dataset drop all of them.
    """
    out = tmp_path_factory.mktemp("data")
    paths = write_easy_vqa(out, limit=10)
    pictures = json.loads(paths["finetune"].read_text(encoding="utf-8"))
    texts = [make_record(f"text-{i}", None, [(f"What is {i} and {i}?", str(2 * i))]) for i in range(4)]
    write_json(out / "texts.json", texts)
    rows = [record.to_dict() for record in texts]
    (out / "mixed.json").write_text(json.dumps([rows[0], *pictures, *rows[1:]]), encoding="utf-8")
    return out


@pytest.fixture(scope="session")
def texts_and_pictures(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 records, ten of them of text only and of very different lengths, so many rows hold no picture."""
    pictures = json.loads((data / "finetune.json").read_text(encoding="utf-8"))[:4]
    texts = json.loads((data / "texts.json").read_text(encoding="utf-8"))
    rows = []
    for i in range(10):
        turns = [
            {"from": "human", "value": f"Count to {i}."},
            {"from": "gpt", "value": f"{i}, " * 12 * i + "."},
        ]
        rows.append({**texts[0], "id": f"count-{i}", "conversations": turns})
    path = tmp_path_factory.mktemp("ragged") / "data.json"
    path.write_text(json.dumps([*rows, *pictures]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def settings(llm: Path, vision_tower: Path, data: Path) -> Callable[..., list[str]]:
    """`NAME=VALUE` overrides that put the tiny base models and data into any of the project's configs."""

    def make(**changes: object) -> list[str]:
        picture = sorted((data / "images" / "train").iterdir())[0].relative_to(data)
        values = {
            "llm": llm,
            "vision_tower": vision_tower,
            "data_path": data / "mixed.json",
            "image_folder": data,
            "max_length": 1024,
            "batch_size": 2,
            "dataloader_num_workers": 0,
            "evaluation_images": [str(picture)],
            "evaluation_inputs": ["What is it?"],
            "evaluation_freq": 2,
            "log_interval": 1,
            **changes,
        }
        return [f"{name}={value}" for name, value in values.items()]

    return make


@pytest.fixture(scope="session")
def load_config(settings: Callable[..., list[str]]) -> Callable[..., Config]:
    """A config over the tiny parts, fitted to this machine, all weights in float32."""
    from llava_tuning.training.config import config_path, load_settings, parse_settings
    from llava_tuning.training.fitting import fit_to_machine

    def load(kind: str, **changes: object) -> Config:
        overrides = parse_settings(settings(**{**SMALL[kind], **changes}))
        config = load_settings(config_path(CONFIGS[kind]), overrides)
        fit_to_machine(config, lengths=[100] * 14)
        config.model.llm.dtype = "float32"
        return config

    return load


@pytest.fixture(scope="session")
def dataset(load_config: Callable[..., Config]) -> Any:
    """`mixed.json` as training reads it."""
    from xtuner.registry import BUILDER

    return BUILDER.build(load_config("lora").train_dataloader.dataset)


@pytest.fixture(scope="session")
def batch(dataset: Any) -> dict[str, Any]:
    """Two pictures and a text of three lengths."""
    from llava_tuning.training.dataset import collate

    data: dict[str, Any] = collate([dataset[1], dataset[0], dataset[2]])["data"]
    assert len(set(data["cu_seqlens"].diff().tolist())) == 3
    return data


@pytest.fixture
def build(load_config: Callable[..., Config]) -> Callable[..., Any]:
    """A kind of model over the tiny parts, its adapters not at zero, without dropout."""

    def make(kind: str, checkpointing: bool = False, **changes: object) -> Any:
        from xtuner.registry import BUILDER

        four_bit = kind == "qlora"  # whose config asks for a GPU
        config = load_config("lora" if four_bit else kind, gradient_checkpointing=checkpointing, **changes)
        config.model.llm.load_in_4bit = four_bit
        torch.manual_seed(2)
        model: Any = BUILDER.build(config.model).train()
        if "frozen_fp8" in changes:  # converted on a GPU, where there is one
            model = model.cpu()
        for part in model.modules():
            if isinstance(part, LoraLayer):  # at its zero the adapter would do nothing
                for name, linear in part.lora_B.items():
                    torch.nn.init.normal_(linear.weight, std=0.2 / part.scaling[name])
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    return make


@pytest.fixture(scope="session")
def start(settings: Callable[..., list[str]]) -> Callable[..., int]:
    """Train a kind of run to its end on the tiny parts; returns the training process's exit status."""
    from llava_tuning.training.launch import train

    real_run = subprocess.run

    def run(kind: str, work_dir: Path, options: dict[str, Any] | None = None, **changes: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")  # as in `one_thread`
            if subprocess.run is real_run:  # a test may have replaced it
                patch.setattr(subprocess, "run", forked.run)
            return train(CONFIGS[kind], work_dir, settings(**{**SMALL[kind], **changes}), **(options or {}))

    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all finished runs."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def pretrained(start: Callable[..., int], data: Path, runs: Path) -> Path:
    """The work directory of a finished stage 1: three steps."""
    assert start("pretrain", runs / "pretrain", data_path=data / "pretrain.json", max_steps=3) == 0
    return runs / "pretrain"


@pytest.fixture(scope="session")
def projector(pretrained: Path) -> Path:
    """Stage 1's checkpoint."""
    return pretrained / "iter_3.pth"


@pytest.fixture(scope="session")
def lora_run(start: Callable[..., int], projector: Path, runs: Path) -> Path:
    """Stage 2 by LoRA: ten steps of two over 14 records, so the second epoch begins with step 8."""
    changes = {"projector_checkpoint": projector, "max_steps": 10, "save_steps": 5}
    assert start("lora", runs / "lora", **changes) == 0
    return runs / "lora"


@pytest.fixture(scope="session")
def full_run(start: Callable[..., int], projector: Path, runs: Path) -> Path:
    """Stage 2 in full: one step, with activation checkpointing."""
    assert start("full", runs / "full", projector_checkpoint=projector, max_steps=1) == 0
    return runs / "full"


@pytest.fixture(scope="session")
def vision_lora_run(start: Callable[..., int], projector: Path, runs: Path) -> Path:
    """Stage 2 by LoRA on language model and vision tower: two steps on two processes."""
    changes = {"projector_checkpoint": projector, "max_steps": 2}
    assert start("vision_lora", runs / "vision_lora", {"nproc_per_node": 2}, **changes) == 0
    return runs / "vision_lora"
