"""A small CLIP trained on captions gives a vision tower that stage 1 reads."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from llava_tuning import cli
from llava_tuning.errors import UserError
from llava_tuning.models.llava import load_image_processor, tokens_per_image
from llava_tuning.training import clip
from llava_tuning.training.clip import ClipSettings, contrastive_loss, train_clip
from llava_tuning.training.model import load_vision_tower

SETTINGS = ClipSettings(image_size=32, patch_size=8, width=32, layers=2, heads=2, epochs=3, batch_size=4)


@pytest.fixture
def captions(data: Path) -> list[tuple[Path, Path]]:
    return [(data / "pretrain.json", data)]


def test_the_command_writes_a_tower_and_its_processor(
    data: Path, llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tower"
    sizes = {"image-size": 32, "patch-size": 8, "width": 64, "layers": 2, "epochs": 2, "batch-size": 5}
    options = [part for name, value in sizes.items() for part in (f"--{name}", value)]
    arguments = ["train-clip", f"{data}/pretrain.json", "--out", out, "--tokenizer", llm, *options]
    monkeypatch.setattr(sys, "argv", ["llava-tuning", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert f"{out}: loss " in capsys.readouterr().out
    tower = load_vision_tower(str(out))
    assert tokens_per_image(tower.config) == 16
    assert (tower.config.hidden_size, tower.config.num_hidden_layers) == (64, 2)
    processor = load_image_processor(out)
    assert processor.do_pad and processor.crop_size["height"] == 32
    about = json.loads((out / "train_clip.json").read_text())
    assert about["pictures"] == 10 and about["settings"]["epochs"] == 2
    assert 0 < about["loss"] < 5 and 0 <= about["retrieval_accuracy"] <= 1
    assert not (out / clip.STATE_FILE).exists()


def test_resuming_gives_the_unbroken_runs_tower(
    captions: list[tuple[Path, Path]], llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six steps of which the fifth is interrupted, the state saved after each."""
    train_clip(captions, tmp_path / "whole", llm, SETTINGS)
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(clip.time, "monotonic", lambda: next(clock))
    augment = clip._augment
    steps: list[int] = []

    def interrupted(pictures: torch.Tensor, processor: object, seed: int) -> torch.Tensor:
        if seed == 4 and 4 not in steps:
            steps.append(seed)
            raise KeyboardInterrupt
        steps.append(seed)
        return augment(pictures, processor, seed)

    monkeypatch.setattr(clip, "_augment", interrupted)
    out = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        train_clip(captions, out, llm, SETTINGS)
    assert not (out / "model.safetensors").exists() and (out / clip.STATE_FILE).is_file()
    train_clip(captions, out, llm, SETTINGS, resume=True)
    assert steps == [0, 1, 2, 3, 4, 4, 5]
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_what_cannot_be_trained_on_is_told(
    captions: list[tuple[Path, Path]], data: Path, llm: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"holds no train_state\.pt; start without --resume"):
        train_clip(captions, tmp_path, llm, SETTINGS, resume=True)
    with pytest.raises(UserError, match="image size 30 is no multiple of patch size 8; choose 24 or 32"):
        train_clip(captions, tmp_path, llm, ClipSettings(image_size=30, patch_size=8))
    with pytest.raises(UserError, match="3 heads do not divide width 200; choose a multiple of 64"):
        train_clip(captions, tmp_path, llm, ClipSettings(width=200, heads=3))
    for epochs in (0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"--epochs {epochs}: give a number above 0"):
            train_clip(captions, tmp_path, llm, replace(SETTINGS, epochs=epochs))
    with pytest.raises(UserError, match=r"texts\.json: no record has a picture and a caption"):
        train_clip([(data / "texts.json", data)], tmp_path, llm, SETTINGS)


@pytest.mark.parametrize("option", ["--patch-size=0", "--batch-size=0", "--epochs=-1", "--layers=0"])
def test_sizes_that_make_no_sense_are_told_by_the_option(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["llava-tuning", "train-clip", "x.json", "--out", str(out), option])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err
    assert not out.exists()


def test_a_tokenizer_is_read_from_a_directory_alone(
    captions: list[tuple[Path, Path]], llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is no directory would be asked for at the hub."""
    damaged = shutil.copytree(llm, tmp_path / "damaged")
    (damaged / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="damaged: its tokenizer cannot be loaded"):
        train_clip(captions, tmp_path / "out", damaged, SETTINGS)
    monkeypatch.setattr(clip, "load_tokenizer", None)
    with pytest.raises(UserError, match="--tokenizer nodir: no such tokenizer directory"):
        train_clip(captions, tmp_path / "out", Path("nodir"), SETTINGS)


def test_a_state_of_another_run_or_half_written_is_not_resumed(
    captions: list[tuple[Path, Path]], llm: Path, tmp_path: Path
) -> None:
    state = tmp_path / clip.STATE_FILE
    torch.save({"settings": asdict(SETTINGS), "model": {}, "optimizer": {}, "step": 1}, state)
    with pytest.raises(UserError, match=r"begun with width 32 \(now 64\), layers 2 \(now 3\); give the same"):
        train_clip(captions, tmp_path, llm, replace(SETTINGS, width=64, layers=3), resume=True)
    with pytest.raises(UserError, match="begun with another tokenizer"):
        train_clip(captions, tmp_path, llm, SETTINGS, resume=True)
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(UserError, match=r"train_state\.pt is damaged .*delete it and start without --resume"):
        train_clip(captions, tmp_path, llm, SETTINGS, resume=True)


def test_equal_captions_share_the_target() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 4)
    ids = torch.tensor([7, 3, 7, 1])
    target = torch.tensor([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]])
    rows = -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
    columns = -(target * functional.log_softmax(logits, dim=0)).sum(dim=0).mean()
    loss, _ = contrastive_loss(logits, ids)
    assert loss.item() == pytest.approx((rows + columns).item() / 2, rel=1e-6)
    swapped = 5 * torch.eye(4)[[2, 1, 0, 3]]  # pictures 0 and 2 each choose the other's equal caption
    assert contrastive_loss(swapped, ids)[1].item() == 1.0
    assert contrastive_loss(swapped, torch.arange(4))[1].item() == 0.5


def test_different_captions_are_clips_own_loss() -> None:
    torch.manual_seed(1)
    logits = torch.randn(5, 5)
    ids = torch.arange(5)
    expected = (functional.cross_entropy(logits, ids) + functional.cross_entropy(logits.t(), ids)) / 2
    assert contrastive_loss(logits, ids)[0].item() == pytest.approx(expected.item(), rel=1e-6)
