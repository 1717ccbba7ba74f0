"""The mean of several runs' parts, and a run that begins with another's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.errors import UserError
from llava_tuning.models.default import PARTS
from llava_tuning.models.llava import load_llava
from llava_tuning.models.parts import ADAPTER, ADAPTER_CONFIG, PROJECTOR, TOWER, average_parts
from llava_tuning.models.provenance import read_provenance
from llava_tuning.training.checkpoint import read_weights
from llava_tuning.training.export import export_parts
from llava_tuning.training.start import parts_named, settings_of, write_start

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def two(lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The parts of `lora_run` after five steps and after ten, the latter's adapter far from the former's."""
    out = tmp_path_factory.mktemp("parts")
    folders = [export_parts(lora_run, out / str(step), lora_run / f"iter_{step}.pth") for step in (5, 10)]
    torch.manual_seed(0)
    moved = {name: torch.randn_like(value) / 4 for name, value in load_file(folders[1] / ADAPTER).items()}
    save_file(moved, folders[1] / ADAPTER)
    return folders


def products(folder: Path) -> dict[str, torch.Tensor]:
    """What each layer's adapter adds to its weight, by the layer's name in the language model."""
    weights = load_file(folder / ADAPTER)
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    scale = config["lora_alpha"] / config["r"]
    return {
        name.removeprefix("base_model.model.").replace(".lora_A", ""): scale
        * (weights[name.replace("lora_A", "lora_B")].float() @ value.float())
        for name, value in weights.items()
        if "lora_A" in name
    }


def run(*arguments: object) -> Any:
    return CliRunner().invoke(_build(), list(map(str, arguments)))


def test_the_mean_lies_between_two_runs_and_becomes_a_model(
    two: list[Path], llm: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "mean", tmp_path / "model"
    done = run("average", f"{two[0]}:1", f"{two[1]}:3", "--out", out, "--model", model, "--llm", llm)
    assert done.exit_code == 0, done.output
    for name in (PROJECTOR, TOWER):
        one, other, mean = (load_file(folder / name) for folder in (*two, out))
        for key, value in mean.items():
            expected = one[key].float() / 4 + other[key].float() * 3 / 4
            torch.testing.assert_close(value.float(), expected, rtol=0.01, atol=1e-3)
    first, second, mean = (products(folder) for folder in (*two, out))
    rank = json.loads((out / ADAPTER_CONFIG).read_text())["r"]
    base = LlamaForCausalLM.from_pretrained(llm, dtype=torch.float32).state_dict()
    whole = load_llava(model, dtype=torch.float32)[0].model.language_model.state_dict()
    lost = square = 0.0
    for name, found in mean.items():
        exact = first[name] / 4 + second[name] * 3 / 4
        sizes = torch.linalg.svdvals(exact)
        error = (found - exact).norm()
        assert error <= 1.02 * sizes[rank:].norm() + 0.01 * exact.norm()  # nothing of this rank is nearer
        lost, square = lost + float((sizes[rank:] ** 2).sum()), square + float((sizes**2).sum())
        merged = whole[name.removeprefix("model.")]
        torch.testing.assert_close(merged, base[name] + found, rtol=0.01, atol=0.01)
    assert f"leaves out {lost / square:.2%}" in " ".join(done.output.split())
    provenance = read_provenance(out)
    assert provenance is not None and len(provenance.data) == 4 and not provenance.scores


def test_a_run_averaged_with_itself_is_itself(two: list[Path], tmp_path: Path) -> None:
    average_parts([(two[0], 1), (two[0], 5)], tmp_path / "mean")
    for name, value in products(two[0]).items():
        torch.testing.assert_close(products(tmp_path / "mean")[name], value, rtol=0.02, atol=1e-4)
    assert json.loads((tmp_path / "mean" / ADAPTER_CONFIG).read_text()) == json.loads(
        (two[0] / ADAPTER_CONFIG).read_text()
    )


def other_base(folder: Path) -> None:
    path = folder / "provenance.json"
    path.write_text(path.read_text().replace('"role": "vision tower"', '"role": "another tower"'))


def other_scale(folder: Path) -> None:
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 1}))


def other_kind(folder: Path) -> None:
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": True}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_base, "other base models"),
        (other_scale, "lora_alpha = 1, that of"),
        (other_kind, "use_dora = True; only plain LoRA"),
        (lambda folder: (folder / PROJECTOR).unlink(), "is no folder of parts"),
        (shutil.rmtree, "is no folder of parts"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    spoil: Callable[[Path], object], said: str, two: list[Path], tmp_path: Path
) -> None:
    other = shutil.copytree(two[1], tmp_path / "other")
    spoil(other)
    with pytest.raises(UserError, match=said):
        average_parts([(two[0], 1), (other, 1)], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_a_mean_of_one_or_of_no_weight_is_refused(two: list[Path], tmp_path: Path) -> None:
    for arguments, said in (([f"{two[0]}:1"], "two folders"), ([two[0], two[1]], "FOLDER:WEIGHT")):
        done = run("average", *arguments, "--out", tmp_path / "mean")
        assert isinstance(done.exception, UserError) and said in str(done.exception)


def test_a_model_is_refused_before_anything_is_written(
    two: list[Path], llm: Path, vision_tower: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    sources = [f"{folder}:1" for folder in two]
    for model, base, said in (
        (tmp_path / "taken", llm, "--model"),
        (tmp_path / "model", tmp_path / "nowhere", "no such model directory"),
        (tmp_path / "model", vision_tower, "is not the language model"),
    ):
        done = run("average", *sources, "--out", tmp_path / "mean", "--model", model, "--llm", base)
        assert isinstance(done.exception, UserError) and said in str(done.exception)
        assert not (tmp_path / "mean").exists() and not (tmp_path / "model").exists()


def test_a_run_begins_with_another_runs_weights(
    lora_run: Path, start: Callable[..., int], projector: Path, tmp_path: Path
) -> None:
    checkpoint = lora_run / "iter_10.pth"
    changes = {"projector_checkpoint": projector, "max_steps": 1, "lr": 1e-12}
    assert start("lora", tmp_path, {"load_from": checkpoint}, **changes) == 0
    begun = read_weights(tmp_path / "iter_1.pth")
    assert begun.keys() == read_weights(checkpoint).keys()
    for name, value in read_weights(checkpoint).items():
        torch.testing.assert_close(begun[name], value, rtol=0, atol=1e-9)


def test_a_run_does_not_begin_with_what_does_not_fit(
    lora_run: Path, start: Callable[..., int], projector: Path, tmp_path: Path
) -> None:
    checkpoint = lora_run / "iter_10.pth"
    rank = {"r": 3, "lora_alpha": 6}
    for options, changes, said in (
        ({"load_from": projector}, {}, "did not train the language model"),
        ({"load_from": tmp_path / "gone.pth"}, {}, "gone.pth: no such file"),
        ({"load_from": checkpoint}, {"llm_lora": rank}, "here it has 3; set the same rank"),
        ({"load_from": checkpoint, "resume": "auto"}, {}, "give one of them"),
        ({"load_from": checkpoint, "deepspeed": "zero2"}, {}, "deepspeed"),
    ):
        with pytest.raises(UserError, match=said):
            start("lora", tmp_path / "run", options, projector_checkpoint=projector, **changes)
    assert not (tmp_path / "run").exists()


def test_weights_of_other_shapes_end_the_run(
    lora_run: Path,
    start: Callable[..., int],
    projector: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """mmengine would leave them out and train on from random ones."""
    checkpoint = torch.load(lora_run / "iter_10.pth", weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.startswith("projector."))
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name][:-1]
    torch.save(checkpoint, tmp_path / "other.pth")
    options = {"load_from": tmp_path / "other.pth"}
    assert start("lora", tmp_path / "run", options, projector_checkpoint=projector, max_steps=1) == 2
    assert f"does not fit this run: {name} is" in capfd.readouterr().err
    assert not list((tmp_path / "run").glob("iter_*.pth"))


@pytest.fixture(scope="module")
def parts(vision_lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of a run that tuned the vision tower as well."""
    return export_parts(vision_lora_run, tmp_path_factory.mktemp("go_on") / "parts")


def test_a_run_goes_on_with_parts(
    parts: Path, start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their adapter and projector are trained further on their own tower, and the run can be resumed."""
    work_dir = tmp_path / "run"
    of = {"vision_tower": parts / "vision_tower", "save_steps": 1}
    assert start("lora", work_dir, {"load_from": parts}, **of, max_steps=1, lr=1e-12) == 0
    begun = export_parts(work_dir, tmp_path / "begun")
    for name in (ADAPTER, PROJECTOR, TOWER):
        one, other = load_file(parts / name), load_file(begun / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items()), name
    both = {"load_from": parts, "resume": "auto"}
    assert start("lora", work_dir, both, **of, max_steps=2, lr=1e-2) == 0
    assert "resumes     after step 1" in capsys.readouterr().out
    again = export_parts(work_dir, tmp_path / "again")
    assert "start.pth" in read_provenance(again).data
    for name, changes in ((ADAPTER, True), (PROJECTOR, True), (TOWER, False)):
        one, other = load_file(parts / name), load_file(again / name)
        assert any(not torch.equal(value, other[key]) for key, value in one.items()) == changes, name
    for options, said in (
        ({"resume": "auto"}, "began with a model's parts; give the same --load-from again"),
        ({"load_from": again, "resume": "auto"}, "did not begin with it"),
    ):
        tower = options.get("load_from", parts) / "vision_tower"
        with pytest.raises(UserError, match=said):
            start("lora", work_dir, options, **{**of, "vision_tower": tower}, max_steps=3)
    anew = {**of, "projector_checkpoint": parts / PROJECTOR}
    for options in ({}, {"resume": "auto"}):  # another run in the same place began without parts
        assert start("lora", work_dir, options, **anew, max_steps=3) == 0


def test_parts_say_what_a_config_needs_to_go_on_with_them(parts: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(parts, tmp_path / "mine")
    config = json.loads((mine / ADAPTER_CONFIG).read_text()) | {"lora_alpha": 7, "use_rslora": True}
    (mine / ADAPTER_CONFIG).write_text(json.dumps(config))
    said = {
        "vision_tower": str(mine / "vision_tower"),
        "projector_checkpoint": str(mine / PROJECTOR),
        "llm_lora.r": config["r"],
        "llm_lora.lora_alpha": 7,
        "llm_lora.use_rslora": True,
    }
    assert settings_of(mine, {}) == {**said, "visual_encoder_lora": None}
    assert settings_of(mine, {"visual_encoder_lora.r": 4}) == said


def test_the_embedded_models_parts_are_a_beginning(tmp_path: Path) -> None:
    assert parts_named("default") == PARTS
    begun, adapter = read_weights(write_start(PARTS, tmp_path)), load_file(PARTS / ADAPTER)
    projector = load_file(PARTS / PROJECTOR)
    assert len(begun) == len(adapter) + len(projector)
    assert torch.equal(begun["projector.model.0.weight"], projector["0.weight"].float())
    name = next(iter(adapter))
    assert torch.equal(begun[f"llm.{name.removesuffix('.weight')}.default.weight"], adapter[name].float())


def test_a_run_does_not_go_on_with_parts_that_do_not_fit(
    parts: Path, start: Callable[..., int], projector: Path, tmp_path: Path
) -> None:
    broken, dora, foreign, torn = (
        shutil.copytree(parts, tmp_path / name) for name in ("broken", "dora", "foreign", "torn")
    )
    (broken / PROJECTOR).unlink()
    config = json.loads((dora / ADAPTER_CONFIG).read_text())
    (dora / ADAPTER_CONFIG).write_text(json.dumps(config | {"use_dora": True}))
    provenance = json.loads((foreign / "provenance.json").read_text())
    provenance["base_models"][0]["hashes"] = {"model.safetensors": "0" * 64}
    (foreign / "provenance.json").write_text(json.dumps(provenance))
    (torn / ADAPTER).write_bytes(b"half a file")
    deepspeed = tmp_path / "iter_5.pth"
    deepspeed.mkdir()
    alone = "a LLaVA finetuning config by LoRA alone"
    for kind, folder, changes, said in (
        ("lora", broken, {}, r"lacks projector\.safetensors"),
        ("lora", dora, {}, "use_dora = True; only plain LoRA"),
        ("lora", foreign, {"vision_tower": foreign / "vision_tower"}, "is not the language model"),
        ("lora", deepspeed, {}, "without DeepSpeed, a folder that"),
        ("lora", parts, {"llm_lora": {"r": 3, "lora_alpha": 6}}, "here it has 3; leave llm_lora out"),
        ("lora", parts, {"llm_lora.lora_alpha": 5}, "here it has 5; leave llm_lora out"),
        ("lora", parts, {"vision_tower": dora / "vision_tower"}, "its own vision_tower"),
        ("lora", parts, {"projector_checkpoint": projector}, "its own projector_checkpoint"),
        ("vision_lora", parts, {}, "leave visual_encoder_lora out"),
        ("full", parts, {}, alone),
        ("pretrain", parts, {}, alone),
        ("text_lora", parts, {"vision_tower": None}, alone),
    ):
        own = {"vision_tower": parts / "vision_tower"}
        with pytest.raises(UserError, match=said):
            start(kind, tmp_path / "run", {"load_from": folder}, **{**own, **changes})
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="not readable"):
        write_start(torn, tmp_path)


def test_the_command_begins_with_them_too(lora_run: Path) -> None:
    done = run(
        "train", "llava_smollm2_135m_clip_small_p14_112_e1_pretrain", "--load-from", "gone.pth", "--dry-run"
    )
    assert isinstance(done.exception, UserError) and "gone.pth" in str(done.exception)
