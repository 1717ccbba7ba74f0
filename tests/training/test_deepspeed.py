"""DeepSpeed writes a checkpoint as a directory; a stand-in for DeepSpeed's own reader puts it together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from llava_tuning.errors import UserError
from llava_tuning.models.provenance import hash_file
from llava_tuning.training import checkpoint as checkpoints
from llava_tuning.training import language_model, launch, recompute
from llava_tuning.training import model as models
from llava_tuning.training.checkpoint import read_weights
from llava_tuning.training.dataset import collate
from llava_tuning.training.export import _checkpoint_hashes, export
from llava_tuning.training.hooks import answers
from llava_tuning.training.launch import latest_checkpoint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An older checkpoint in one file and a newer one in a directory."""
    torch.save({"state_dict": {}}, tmp_path / "iter_9.pth")
    directory = tmp_path / "iter_10.pth"
    directory.mkdir()
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """DeepSpeed's reader replaced: notes what it is asked for and returns one weight; fails for `iter_1`."""
    asked: list[tuple[str, str]] = []

    def read(directory: str, tag: str) -> dict[str, torch.Tensor]:
        print("Parsing checkpoint created by deepspeed")
        if tag == "iter_1.pth":
            raise FileNotFoundError("can't find files")
        asked.append((directory, tag))
        return {"projector.model.0.bias": torch.ones(2)}

    module = ModuleType("deepspeed.utils.zero_to_fp32")
    module.get_fp32_state_dict_from_zero_checkpoint = read  # type: ignore[attr-defined]
    for name in ("deepspeed", "deepspeed.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "deepspeed.utils.zero_to_fp32", module)
    monkeypatch.setattr(checkpoints, "check_deepspeed", lambda need: None)
    monkeypatch.setattr(checkpoints.compat, "apply", lambda: None)
    return asked


def test_a_directory_is_the_newest_checkpoint(saved: Path) -> None:
    assert latest_checkpoint(saved.parent) == saved


def test_its_weights_are_put_together_without_a_word(
    saved: Path, reader: list[tuple[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert torch.equal(read_weights(saved)["projector.model.0.bias"], torch.ones(2))
    assert reader == [(str(saved.parent), "iter_10.pth")]
    assert capfd.readouterr() == ("", "")


def test_an_incomplete_one_is_told(saved: Path, reader: list[tuple[str, str]]) -> None:
    with pytest.raises(UserError, match=r"iter_1\.pth: not readable .*can't find files.*name a complete"):
        read_weights(saved.rename(saved.with_name("iter_1.pth")))


def test_its_files_are_in_the_provenance(saved: Path) -> None:
    hashes = _checkpoint_hashes(saved)
    assert hashes == {f"iter_10.pth/{file.name}": hash_file(file) for file in saved.iterdir()}


def test_deepspeed_is_needed_to_read_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"iter_10\.pth: .*needs DeepSpeed: pip install deepspeed"):
        read_weights(saved)
    (saved.parent / "config.py").touch()
    with pytest.raises(UserError, match="needs DeepSpeed"):  # before the base models are loaded
        export(saved.parent, saved.parent / "out")


def test_resuming_takes_the_same_road(saved: Path) -> None:
    resume = launch._checkpoint_to_resume
    assert resume("auto", saved.parent, deepspeed=True) == saved
    with pytest.raises(UserError, match="was written by DeepSpeed; resume it with --deepspeed"):
        resume("auto", saved.parent, deepspeed=False)
    with pytest.raises(UserError, match="was written without DeepSpeed; resume it without --deepspeed"):
        resume(str(saved.parent / "iter_9.pth"), saved.parent, deepspeed=True)


@pytest.mark.training
def test_a_real_run_is_exported(start: Callable[..., int], data: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    run = tmp_path / "run"
    options = {"deepspeed": "zero2"}
    assert start("pretrain", run, options, data_path=data / "pretrain.json", max_steps=2) == 0
    assert (run / "iter_2.pth").is_dir()
    assert export(run, tmp_path / "model").merged_difference < 1e-4


def test_under_zero3_buffers_go_where_the_weights_will_be(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "is_deepspeed_zero3_enabled", lambda: True)
    monkeypatch.setattr(language_model, "get_device", lambda: "meta")
    model = build("vision_lora", False)
    assert {value.device.type for value in model.buffers()} == {"meta"}
    assert {value.device.type for value in model.parameters()} == {"cpu"}  # DeepSpeed spreads these


def test_under_zero3_a_batch_of_text_runs_the_vision_tower_too(
    build: Callable[..., Any], dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = collate([dataset[0], dataset[11]])["data"]
    assert "pixel_values" not in row
    model = build("full", False)
    expected = model(row)["loss"]
    ran: list[int] = []
    model.visual_encoder.register_forward_hook(lambda *_: ran.append(1))
    for layer in model._tower().encoder.layers:
        layer.register_forward_hook(lambda *_: ran.append(1))
    model(row)
    assert not ran
    monkeypatch.setattr(models, "is_deepspeed_zero3_enabled", lambda: True)
    found = model(row)["loss"]
    assert ran  # else a process with pictures would wait for this one to gather the tower's weights
    torch.testing.assert_close(found, expected)


def test_under_zero3_all_processes_compute_the_same_layers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recompute.Recompute("auto").mode == "auto"
    monkeypatch.setattr(recompute, "is_deepspeed_zero3_enabled", lambda: True)
    assert recompute.Recompute("auto").mode is True
    assert recompute.Recompute(False).mode is False


def test_under_zero3_one_process_does_not_answer_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    runner: Any = SimpleNamespace(work_dir=str(tmp_path), iter=0, logger=SimpleNamespace(warning=said.append))
    (tmp_path / "samples.jsonl").touch()
    monkeypatch.setattr(answers, "get_world_size", lambda: 2)
    hook = answers.SampleAnswersHook(1, ["What is it?"])
    with pytest.raises(AttributeError, match="model"):  # without ZeRO-3 it asks the model
        hook.before_train(runner)
    monkeypatch.setattr(answers, "is_deepspeed_zero3_enabled", lambda: True)
    hook.before_train(runner)
    assert said == ["ZeRO-3 on several processes: no sample answers while it trains"]
