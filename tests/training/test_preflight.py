"""The plan that a run prints before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from xtuner.registry import BUILDER

from llava_tuning.models import smollm2
from llava_tuning.models.default import PARTS
from llava_tuning.training import launch, preflight

KINDS = ["pretrain", "lora", "full", "vision_lora"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_counts_what_is_really_trained(kind: str, load_config: Callable[..., Config]) -> None:
    config = load_config(kind)
    model = BUILDER.build(config.model)
    plan = preflight.plan(config, records=14, steps=7)
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    assert plan.trained_parameters == sizes[True]
    assert plan.frozen_parameters == sizes[False]


def test_lora_on_chosen_layers_is_counted(load_config: Callable[..., Config]) -> None:
    config = load_config("lora", **{"llm_lora.target_modules": ["q_proj", "v_proj"]})
    model = BUILDER.build(config.model)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert preflight.plan(config, 14, 7).trained_parameters == trained


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
    lines = preflight.plan(config, records=1400, steps=700).describe(config).splitlines()
    assert lines[0] == f"stage       {said}"
    assert lines[2] == "data        1,400 records, up to 1,024 tokens each"
    assert lines[3] == "steps       700 of 2 records × 2 accumulated"
    assert lines[4].startswith("memory      about ")


def test_more_training_and_larger_batches_need_more_memory(load_config: Callable[..., Config]) -> None:
    def needs(kind: str, **changes: object) -> int:
        return preflight.plan(load_config(kind, **changes), 14, 7).memory_bytes

    assert needs("full", max_length=64) > needs("lora", max_length=64)
    assert needs("lora", gradient_checkpointing=False) > needs("lora", gradient_checkpointing=True)
    assert needs("lora", batch_size=4) > needs("lora")


def test_duplicates_only_warn(
    load_config: Callable[..., Config], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((data / "pretrain.json").read_text())
    (tmp_path / "twice.json").write_text(json.dumps([*rows, {**rows[0], "id": "again"}]))
    assert preflight.check(load_config("pretrain", data_path=tmp_path / "twice.json")) == 11
    assert capsys.readouterr().out.startswith("note        1 duplicate records, e.g. ")


def test_a_dry_run_writes_and_starts_nothing(
    start: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch.subprocess, "run", forbidden)
    assert start("pretrain", tmp_path / "run", {"dry_run": True}) == 0
    assert list(tmp_path.iterdir()) == []
    assert "steps       7 of 2 records" in capsys.readouterr().out


def test_names_of_the_embedded_parts_become_their_directories(
    load_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(smollm2, "smollm2_directory", lambda: tmp_path)
    config = load_config("pretrain")
    config.llm, config.vision_tower = "smollm2", "default"
    preflight.resolve_paths(config)
    assert (config.llm, config.vision_tower) == (str(tmp_path), str(PARTS / "vision_tower"))
    assert (PARTS / "vision_tower" / "config.json").is_file()
