"""A small CLIP trained on captions gives a vision tower that stage 1 reads."""

from __future__ import annotations

import json
import sys
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
    with pytest.raises(UserError, match="image size 30 is no multiple of patch size 8"):
        train_clip(captions, tmp_path, llm, ClipSettings(image_size=30, patch_size=8))
    with pytest.raises(UserError, match=r"texts\.json: no record has a picture and a caption"):
        train_clip([(data / "texts.json", data)], tmp_path, llm, SETTINGS)


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
