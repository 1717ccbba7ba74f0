"""The plan that a run prints before it starts: what trains, what it needs, which cards it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mmengine.config import Config
from transformers import CLIPVisionConfig, LlamaConfig
from xtuner.registry import BUILDER

from llava_tuning.models.shapes import CLIP_L, INTERNLM2_1_8B
from llava_tuning.training.estimate import (
    GIB,
    Load,
    Training,
    card_named,
    flop,
    layers_recomputed,
    memory,
    seconds,
)
from llava_tuning.training.plan import Plan, Samples, plan

KINDS = ["pretrain", "lora", "full", "vision_lora"]
SAMPLES = Samples([100, 120, -80, 110], [10, 20, 30, 10])
H100 = card_named("NVIDIA H100 80GB HBM3")
assert H100 is not None
TEXT, PICTURE = LlamaConfig(**INTERNLM2_1_8B), CLIPVisionConfig(**CLIP_L)
PRETRAIN = Training(TEXT, PICTURE, trained_parameters=6_297_600, frozen_parameters=2_192_000_000)
STEP = Load(tokens=20_000, squares=12_500_000, supervised=640, pictures=32)


def made(config: Config, **changes: Any) -> Plan:
    return plan(config, **{"records": 1400, "steps": 700, "samples": SAMPLES, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_counts_what_is_really_trained(kind: str, load_config: Callable[..., Config]) -> None:
    config = load_config(kind)
    model = BUILDER.build(config.model)
    training = made(config).training
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    assert training.trained_parameters == sizes[True]
    assert training.frozen_parameters == sizes[False]


def test_lora_on_chosen_layers_is_counted(load_config: Callable[..., Config]) -> None:
    config = load_config("lora", **{"llm_lora.target_modules": ["q_proj", "v_proj"]})
    model = BUILDER.build(config.model)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert made(config).training.trained_parameters == trained


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pretrain", "pretrain: projector"),
        ("lora", "finetune: projector, language model by LoRA (rank 4)"),
        ("full", "finetune: projector, language model in full"),
        (
            "vision_lora",
            "finetune: projector, language model by LoRA (rank 4), vision tower by LoRA (rank 4)",
        ),
    ],
)
def test_the_plan_says_what_trains(kind: str, said: str, load_config: Callable[..., Config]) -> None:
    config = load_config(kind, accumulative_counts=2)
    lines = made(config).describe(config).splitlines()
    assert lines[0] == f"stage       {said}"
    assert lines[2] == "data        1,400 records of 102 tokens on average, 120 at most"
    assert lines[3] == "steps       700 of 2 records × 2 accumulated"
    assert lines[4].startswith("memory      about ")


def test_more_training_and_larger_batches_need_more_memory(load_config: Callable[..., Config]) -> None:
    def needs(kind: str, **changes: object) -> float:
        config = load_config(kind, **changes)
        return made(config).memory_bytes(config)

    assert needs("full") > needs("lora") > needs("pretrain")
    assert needs("lora", gradient_checkpointing=False) > needs("lora", gradient_checkpointing=True)
    assert needs("lora", batch_size=4) > needs("lora")


def test_a_step_of_tokens_is_as_large_as_its_budget(load_config: Callable[..., Config]) -> None:
    config = load_config("lora", batch_tokens=2048)
    assert SAMPLES.largest_step(config).tokens == pytest.approx(2048)
    line = made(config).describe(config).splitlines()[3]
    assert line == "steps       700 of up to 2,048 tokens (about 20 records)"


def test_the_work_of_a_frozen_model_is_two_passes_over_its_weights() -> None:
    """Counted by hand for one token of text: forward, and the gradient of the inputs."""
    weights = 24 * (2 * 2048**2 + 2 * 2048 * 1024 + 3 * 2048 * 8192)
    token = Load(tokens=1, squares=0, supervised=0, pictures=0)
    assert flop(PRETRAIN, token) == 2 * 2 * weights
    assert flop(replace(PRETRAIN, full=True), token) == 3 * 2 * weights
    assert flop(PRETRAIN, token, recomputed=1.0) == 3 * 2 * weights
    label = Load(tokens=0, squares=0, supervised=1, pictures=0)
    assert flop(PRETRAIN, label) == 2 * 2 * 2048 * 92544


def test_memory_and_time_of_stage_1_at_1_8b_are_those_measured() -> None:
    """29.1 GiB; 0.259 s a step of 32, 0.223 s and 0.194 s in float8 (benchmarks/results/)."""
    assert memory(PRETRAIN, STEP, 0) / GIB == pytest.approx(29.1, rel=0.15)
    for float8, took in ((False, 0.259), ("backward", 0.223), (True, 0.194)):
        assert seconds(replace(PRETRAIN, frozen_fp8=float8), STEP, H100) == pytest.approx(took, rel=0.15)


def test_a_smaller_card_recomputes_more_layers_until_the_run_does_not_fit() -> None:
    needed = [layers_recomputed(PRETRAIN, STEP, gib) for gib in (80, 40, 24, 16, 4)]
    assert needed[:2] == [0, 0] and needed[-1] is None
    assert isinstance(needed[2], int) and isinstance(needed[3], int) and 0 < needed[2] < needed[3]
    assert memory(PRETRAIN, STEP, needed[2]) <= 0.94 * 24 * GIB < memory(PRETRAIN, STEP, needed[2] - 1)


def test_the_plan_names_the_card_and_the_sizes_that_fit(load_config: Callable[..., Config]) -> None:
    config = load_config("pretrain", gradient_checkpointing="'auto'")
    big = replace(made(config, card=H100), training=PRETRAIN, samples=Samples([620] * 50, [20] * 50))
    config.batch_size = 32
    lines = replace(big, records=558_128).describe(config).splitlines()
    assert lines[-2].startswith("card        H100, 80 GiB: fits; an epoch takes about 7")
    assert lines[-1].startswith("GPU memory  fits on 16 GiB: yes, ") and lines[-1].endswith("80 GiB: yes")
    config.memory_limit = 0.5
    assert "H100, 0.5 GiB: does not fit; lower batch_size" in big.describe(config)
    config.gradient_checkpointing = False
    assert "does not fit; set gradient_checkpointing=auto or lower" in big.describe(config)


def test_an_epoch_of_a_small_model_takes_as_long_as_its_steps_take_to_start(
    load_config: Callable[..., Config],
) -> None:
    """Two layers of text forward and backward, three of pictures forward, 700,000 steps of 2 records."""
    config = load_config("pretrain")
    said = made(config, records=1_400_000, card=H100).describe(config)
    assert "an epoch takes about 1.9 h (estimate)" in said


def test_a_card_without_float8_is_not_promised_its_rate(load_config: Callable[..., Config]) -> None:
    config = load_config("pretrain", frozen_fp8=True)
    for name, said in (
        ("A100", "A100: frozen_fp8 needs a Hopper GPU (H100); set it to False"),
        ("H100", "fits"),
    ):
        assert said in made(config, card=card_named(name)).describe(config)


def test_cards_are_known_by_the_names_that_people_and_drivers_use() -> None:
    names = {"NVIDIA A100-SXM4-80GB": "A100", "rtx 4090": "RTX 4090", "NVIDIA L40S": "L40S", "Tesla T4": "T4"}
    small = card_named("NVIDIA A100-SXM4-40GB")
    assert small is not None and (small.name, small.gib) == ("A100", 40)
    for name, expected in names.items():
        card = card_named(name)
        assert card is not None and card.name == expected
    for name in ("GTX 970", "NVIDIA L40", "NVIDIA T400 4GB", "NVIDIA GH200 480GB", "RTX 4090 Laptop GPU"):
        assert card_named(name) is None


def test_under_deepspeed_no_card_is_judged(load_config: Callable[..., Config]) -> None:
    lines = made(load_config("full"), card=H100, deepspeed=True).describe(load_config("full")).splitlines()
    assert lines[-1].startswith("memory      ") and lines[-1].endswith(
        "before DeepSpeed divides it (estimate)"
    )
