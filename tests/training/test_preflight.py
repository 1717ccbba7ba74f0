"""What is checked before a run starts, and what a dry run does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from xtuner.registry import BUILDER

from llava_tuning.errors import UserError
from llava_tuning.models import smollm2
from llava_tuning.models.default import PARTS
from llava_tuning.training import dataset, launch, preflight


def test_what_the_machine_or_the_data_forbid_is_said(load_config: Callable[..., Config]) -> None:
    config = load_config("lora", batch_tokens=400)
    preflight.check_machine(config, [400, -90], deepspeed=False)
    with pytest.raises(UserError, match="batch_tokens = 400: the longest record takes 401 tokens"):
        preflight.check_machine(config, [401, -90], deepspeed=False)
    config = load_config("lora", frozen_fp8=True)
    with pytest.raises(UserError, match="frozen_fp8 does not work with --deepspeed"):
        preflight.check_machine(config, [400], deepspeed=True)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="frozen_fp8 needs an NVIDIA GPU from Hopper on"):
            preflight.check_machine(config, [400], deepspeed=False)


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


def test_records_are_checked_and_tokenised_before_a_process_starts(
    start: Callable[..., int],
    load_config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Processes would wait for one that tokenises, until their patience ends; so none of them has to."""
    monkeypatch.setenv("LLAVA_TUNING_CACHE", str(tmp_path / "cache"))
    commands: list[list[str]] = []

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("tokenised again")

    def processes(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        with monkeypatch.context() as patch:
            patch.setattr(dataset, "tokenize_records", forbidden)
            assert len(BUILDER.build(load_config("lora").train_dataloader.dataset)) == 14
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(launch.subprocess, "run", processes)
    options = {"nproc_per_node": 2, "nnodes": 2, "launcher_args": ["--node-rank", "1"]}
    assert start("lora", tmp_path / "run", options, projector_checkpoint=None, stage="pretrain") == 0
    assert start("pretrain", tmp_path / "run", {"nproc_per_node": 2}) == 0
    assert [command[command.index("-m") + 1] for command in commands] == ["torch.distributed.run"] * 2
    # Machines that are ready sooner wait for the others, unless told otherwise.
    assert "--rdzv-conf=read_timeout=1800,join_timeout=1800,timeout=1800" in commands[0]
    assert not any("rdzv" in word for word in commands[1])
    options["launcher_args"] = ["--rdzv_conf", "read_timeout=9"]
    assert start("lora", tmp_path / "other", options, projector_checkpoint=None, stage="pretrain") == 0
    assert [word for word in commands[2] if "timeout" in word] == ["read_timeout=9"]
