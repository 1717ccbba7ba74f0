"""A small CLIP trained on captions gives a vision tower that stage 1 reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import clip_in_parts
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch.nn import functional

from llava_tuning import cli
from llava_tuning.data.everyday.table import EverydayPicture, write_table
from llava_tuning.errors import UserError
from llava_tuning.models.llava import load_image_processor, tokens_per_image
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.training.clip import features, pools, train
from llava_tuning.training.clip.settings import ClipSettings, Pooling
from llava_tuning.training.clip.state import STATE_FILE
from llava_tuning.training.clip.train import contrastive_loss, train_clip
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
    assert not (out / STATE_FILE).exists()


def test_resuming_gives_the_unbroken_runs_tower(
    captions: list[tuple[Path, Path]],
    llm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Six steps of which the fifth is interrupted, the state saved after each."""
    train_clip(captions, tmp_path / "whole", llm, SETTINGS)
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(train.time, "monotonic", lambda: next(clock))
    batch = train._batch
    steps: list[int] = []

    def interrupted(chosen: list[tuple[pools.Pool, int]], step: int, *rest: object) -> object:
        steps.append(step)
        if step == 4 and steps.count(4) == 1:
            raise KeyboardInterrupt
        return batch(chosen, step, *rest)

    monkeypatch.setattr(train, "_batch", interrupted)
    out = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        train_clip(captions, out, llm, SETTINGS)
    assert not (out / "model.safetensors").exists() and (out / STATE_FILE).is_file()
    train_clip(captions, out, llm, SETTINGS, resume=True)
    assert steps == [0, 1, 2, 3, 4, 4, 5]
    logged = capsys.readouterr().out  # each time the state is saved
    assert "step 1 of 6  loss" in logged and "step 6 of 6  loss" in logged
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_pooled_patches_learn_captions_where_llava_reads(
    captions: list[tuple[Path, Path]], llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of the patches before the last layer, which itself is left as it was."""
    kept: list[torch.nn.Module] = []
    monkeypatch.setattr(train, "save_tower", lambda out, model, *rest: kept.append(model))
    settings = replace(SETTINGS, pooling="patches", epochs=150, lr=1e-3)
    train_clip(captions, tmp_path, llm, settings)
    train_clip(captions, tmp_path, llm, replace(settings, epochs=1))
    learnt, begun = (model.eval().float() for model in kept)
    last = [name for name in learnt.state_dict() if name.startswith("vision_model.encoder.layers.1.")]
    same = {name: torch.equal(learnt.state_dict()[name], begun.state_dict()[name]) for name in last}
    assert same and all(same.values())
    tokenizer = load_tokenizer(llm, name="llm", remedy="")
    processor = train.picture_processor(SETTINGS.image_size)
    pool = pools.record_pool(captions, processor, tokenizer, train.Processes())
    pixels = train._normalised(pool.pictures.float() / 255, processor)
    with torch.no_grad():
        hidden = learnt.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
        seen = learnt.visual_projection(learnt.vision_model.post_layernorm(hidden[:, 1:].mean(1)))
        said = features.caption_features(learnt, pool.tokens)
    told = (functional.normalize(seen, dim=-1) @ said.T).argmax(1)
    right = (pool.caption_ids[told] == pool.caption_ids).float().mean()
    assert right > 0.7, right


def test_processes_that_do_not_divide_a_batch_are_told(
    captions: list[tuple[Path, Path]], llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.Processes, "joined", lambda: train.Processes(count=3))
    with pytest.raises(
        UserError, match="3 processes cannot share 4 pictures of a batch evenly; start as many"
    ):
        train_clip(captions, tmp_path, llm, SETTINGS)


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
    monkeypatch.setattr(train, "load_tokenizer", None)
    with pytest.raises(UserError, match="--tokenizer nodir: no such tokenizer directory"):
        train_clip(captions, tmp_path / "out", Path("nodir"), SETTINGS)


def test_a_state_of_another_run_or_half_written_is_not_resumed(
    captions: list[tuple[Path, Path]], llm: Path, tmp_path: Path
) -> None:
    state = tmp_path / STATE_FILE
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


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Circles and squares of four colours in two styles, as `data everyday` lays them out."""
    folder = tmp_path_factory.mktemp("everyday")
    rows = []
    for style in ("plain", "outlined"):
        (folder / "pictures" / style).mkdir(parents=True)
        for colour in ("red", "green", "blue", "yellow"):
            picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
            outline = "black" if style == "outlined" else None
            ImageDraw.Draw(picture).ellipse((4, 4, 60, 60), fill=colour, outline=outline, width=3)
            file = f"pictures/{style}/{colour}.webp"
            picture.save(folder / file, lossless=True)
            rows.append(EverydayPicture(file, style, f"{colour} ball", None, "g", "s", colour, "train"))
    write_table(folder, rows)
    return folder


@pytest.mark.parametrize("pooling", ["class", "patches"])
def test_names_are_learnt_in_one_style_and_found_in_another(
    pooling: Pooling, drawings: Path, llm: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=150, lr=3e-3, held_out_style="outlined", pooling=pooling)
    scores = train_clip([], tmp_path / "tower", llm, settings, everyday=drawings)
    assert scores["held_out_accuracy"] == 1
    about = json.loads((tmp_path / "tower" / "train_clip.json").read_text())
    assert about["pictures"] == 4, "the held-out style was trained on"


@pytest.mark.parametrize("steps_for_it", [1, 1000])
def test_layers_of_a_long_run_are_compiled_where_they_can_be(
    steps_for_it: int,
    captions: list[tuple[Path, Path]],
    llm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one graph for all, since batches have one shape; two layers of pictures, four of text."""
    compiled: list[bool] = []
    monkeypatch.setattr(train, "can_compile", lambda: True)
    monkeypatch.setattr(train, "COMPILED_FROM", steps_for_it)
    monkeypatch.setattr(train.CLIPEncoderLayer, "compile", lambda layer, dynamic: compiled.append(dynamic))
    train_clip(captions, tmp_path / "tower", llm, SETTINGS)
    assert compiled == ([False] * 6 if steps_for_it == 1 else [])


def test_a_pool_knows_which_names_have_a_side_or_a_colour(drawings: Path, llm: Path) -> None:
    rows = [
        EverydayPicture("pictures/plain/red.webp", "plain", name, None, "g", "s", None, "train")
        for name in ("red ball", "last quarter moon", "ball")
    ]
    pool = pools._everyday(drawings, rows, 32, load_tokenizer(llm, name="", remedy=""))
    assert pool.coloured is not None and pool.sided is not None
    assert pool.to("cpu").coloured.tolist() == [True, False, False]
    assert pool.to("cpu").sided.tolist() == [False, True, False]


def test_the_log_says_how_many_held_out_names_are_right(
    drawings: Path,
    llm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(train.time, "monotonic", lambda: next(clock))
    settings = replace(SETTINGS, epochs=1, held_out_style="outlined")
    train_clip([], tmp_path / "tower", llm, settings, everyday=drawings)
    assert re.search(r"step 1 of 1  loss .*  held out \d+\.\d%", capsys.readouterr().out)


def test_records_and_everyday_pictures_share_a_batch(
    captions: list[tuple[Path, Path]],
    drawings: Path,
    llm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    real = pools.place
    monkeypatch.setattr(
        pools, "place", lambda pictures, *rest: seen.append(len(pictures)) or real(pictures, *rest)
    )
    settings = replace(SETTINGS, epochs=1, batch_size=8, everyday_share=0.25)
    train_clip(captions, tmp_path / "tower", llm, settings, everyday=drawings)
    assert set(seen) == {2}


def test_a_style_that_is_not_there_is_told(drawings: Path, llm: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no style 'cubist'; choose one of outlined, plain"):
        train_clip([], tmp_path, llm, replace(SETTINGS, held_out_style="cubist"), everyday=drawings)
    with pytest.raises(UserError, match="nothing to train on"):
        train_clip([], tmp_path, llm, SETTINGS)
    with pytest.raises(UserError, match=r"--everyday-share 1\.5"):
        train_clip([], tmp_path, llm, replace(SETTINGS, everyday_share=1.5), everyday=drawings)


def test_processes_share_a_batch_and_learn_what_one_learns(
    data: Path, drawings: Path, llm: Path, tmp_path: Path
) -> None:
    """Each tells its pictures, of records and everyday ones, from the captions of all, in every step."""
    script = str(Path(clip_in_parts.__file__))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    for name, start in (("one", []), ("two", torchrun)):
        command = [sys.executable, *start, script, *map(str, (tmp_path / name, data, llm, drawings))]
        subprocess.run(command, check=True, timeout=240, env=environment, capture_output=True)
    one, two = (json.loads((tmp_path / name / "train_clip.json").read_text()) for name in ("one", "two"))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert two["settings"] == one["settings"] and two["pictures"] == one["pictures"]
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in expected.items():  # saved in bfloat16; keys' biases have no gradient but rounding
        torch.testing.assert_close(found[name], weight, rtol=1e-2, atol=2e-4)
