"""From a finished run to a model directory that answers as the trained model does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPVisionModel, LlamaForCausalLM
from xtuner.registry import BUILDER

from llava_tuning import cli
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.llava import assemble, load_image_processor, load_llava
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    read_provenance,
    write_provenance,
)
from llava_tuning.runs.files import CONFIG_FILE
from llava_tuning.training import export as exporting
from llava_tuning.training import serving
from llava_tuning.training.export import export, export_parts
from llava_tuning.training.hooks.answers import greedy_answer
from llava_tuning.training.launch import latest_checkpoint
from llava_tuning.training.model import LeanLLaVAModel, load_trained

pytestmark = pytest.mark.training
RUNS = ["pretrained", "lora_run", "full_run", "vision_lora_run"]
TOKENS = 12


def trained_model(work_dir: Path) -> LeanLLaVAModel:
    """The run's model in float32 with its last checkpoint, built as the training process builds it."""
    config = Config.fromfile(work_dir / "config.py")
    config.model.llm.dtype = config.model.visual_encoder.dtype = "float32"
    model: LeanLLaVAModel = BUILDER.build(config.model)
    checkpoint = latest_checkpoint(work_dir)
    assert checkpoint is not None
    load_trained(model, checkpoint)
    return model.eval()


@pytest.fixture(scope="module")
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The run of a fixture's name, exported in float32 by the command; once each."""
    done: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in done:
            out = tmp_path_factory.mktemp("exported") / name
            arguments = ["export", request.getfixturevalue(name), "--out", out, "--dtype", "float32"]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["llava-tuning", *map(str, arguments)])
                with pytest.raises(SystemExit) as end:
                    cli.main()
            assert not end.value.code
            done[name] = out
        return done[name]

    return run


@pytest.mark.parametrize("run", RUNS)
def test_the_exported_model_answers_as_the_trained_one(
    run: str, exported: Callable[[str], Path], dataset: Any, request: pytest.FixtureRequest
) -> None:
    backend = load_backend(str(exported(run)), device="cpu", load_in="float32")
    assert backend.sees
    model = trained_model(request.getfixturevalue(run))
    settings = GenerationSettings(temperature=0, max_new_tokens=TOKENS)
    for image in (dataset.text_data[1]["image"], dataset.text_data[5]["image"], None):
        pictures = () if image is None else (open_picture(Path(dataset.image_folder) / image),)
        found = "".join(backend.stream([ChatMessage("user", "What is it?", pictures)], settings))
        expected = greedy_answer(model, dataset, "What is it?", image, TOKENS)
        # Chat keeps back a character whose bytes the last token left incomplete.
        assert found and found.strip().rstrip("\ufffd") == expected.rstrip("\ufffd")


def test_the_directory_holds_safetensors_and_its_origin(
    exported: Callable[[str], Path], lora_run: Path, llm: Path, data: Path
) -> None:
    directory = exported("lora_run")
    assert not [
        path for path in directory.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".py")
    ]
    provenance = read_provenance(directory)
    assert provenance is not None and provenance.stage == "finetune"
    assert provenance.base_models[0].hashes == {"model.safetensors": hash_file(llm / "model.safetensors")}
    assert provenance.data["mixed.json"] == hash_file(data / "mixed.json")
    assert provenance.data["iter_10.pth"] == hash_file(lora_run / "iter_10.pth")


def test_a_base_models_origin_is_its_own_provenance(tmp_path: Path) -> None:
    """A directory of the cache is called by a hash; what it was prepared from has a name and a revision."""
    cached = tmp_path / "smollm2-77b102a887f2"
    cached.mkdir()
    (cached / "model.safetensors").write_bytes(b"weights")
    found = hash_file(cached / "model.safetensors")
    bare = exporting._base("language model", str(cached))
    assert (bare.name, bare.revision, bare.hashes) == (cached.name, None, {"model.safetensors": found})
    source = BaseModelSource(role="language model", name="SmolLM2", revision="1.0", hashes={"a.gguf": "ff"})
    write_provenance(cached, Provenance(stage="prepared", base_models=[source]))
    own = exporting._base("language model", str(cached))
    assert (own.name, own.revision) == ("SmolLM2", "1.0")
    assert own.hashes == {"a.gguf": "ff", "prepared/model.safetensors": found}
    assert exporting._base("vision tower", str(cached)).name == cached.name


def test_an_older_checkpoint_can_be_chosen_and_bfloat16_is_the_default(
    lora_run: Path, tmp_path: Path
) -> None:
    report = export(lora_run, tmp_path / "out", lora_run / "iter_5.pth")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    name = "multi_modal_projector.linear_1.bias"
    found = next(value for key, value in weights.items() if key.endswith(name))
    state = torch.load(lora_run / "iter_5.pth", weights_only=True)["state_dict"]
    assert torch.equal(found, state["projector.model.0.bias"].bfloat16())
    assert max(report.merged_difference, report.reloaded_difference) < 1e-4 < report.rounding_difference


def test_a_directory_with_a_model_is_not_written_over(
    exported: Callable[[str], Path], lora_run: Path
) -> None:
    out = exported("full_run")
    before = hash_file(out / "model.safetensors")
    for write in (export, export_parts):
        with pytest.raises(UserError, match="holds a model already; choose another directory or delete it"):
            write(lora_run, out)
    assert hash_file(out / "model.safetensors") == before


def test_what_is_no_finished_run_is_told(lora_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such directory"):
        export(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match=r"no config\.py, so this is no training run"):
        export(tmp_path, tmp_path / "out")
    shutil.copyfile(lora_run / "config.py", tmp_path / "config.py")
    with pytest.raises(UserError, match=r"no checkpoint \(iter_N\.pth\) there"):
        export(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"iter_9\.pth: no checkpoint"):
        export(lora_run, tmp_path / "out", tmp_path / "iter_9.pth")
    (tmp_path / "iter_9.pth").write_text("half a file")
    with pytest.raises(UserError, match=r"iter_9\.pth: not readable as weights alone"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_data_may_be_gone_when_a_run_is_exported(lora_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    checkpoint = latest_checkpoint(lora_run)
    assert checkpoint is not None
    shutil.copyfile(checkpoint, run / checkpoint.name)
    config = Config.fromfile(lora_run / "config.py")
    config.data_path = "gone/records.json"
    config.dump(run / "config.py")
    provenance = read_provenance(export_parts(run, tmp_path / "parts"))
    assert provenance is not None and list(provenance.data) == [checkpoint.name]


def test_a_run_that_computed_as_on_a_gpu_is_exported_like_any_other(lora_run: Path, tmp_path: Path) -> None:
    """In bfloat16, compiled, with frozen weights in float8: the config of such a run says so."""
    shutil.copytree(lora_run, tmp_path / "run")
    config = Config.fromfile(tmp_path / "run" / CONFIG_FILE, import_custom_modules=False)
    config.model.update(compute_dtype="bfloat16", frozen_fp8=True, compile_layers=True)
    config.dump(tmp_path / "run" / CONFIG_FILE)
    report = export(tmp_path / "run", tmp_path / "model", dtype="float32")
    assert report.merged_difference < 1e-3
    export_parts(tmp_path / "run", tmp_path / "parts")
    weights = load_file(next((tmp_path / "parts" / "vision_tower").glob("*.safetensors")))
    assert any(name.endswith("q_proj.weight") for name in weights)


def test_a_checkpoint_of_another_run_is_refused(lora_run: Path, full_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks weights .*give the config that it was trained with"):
        export(lora_run, tmp_path / "out", full_run / "iter_1.pth")
    assert not (tmp_path / "out").exists()


def test_a_merged_model_that_differs_is_not_written(
    lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bent(llm: LlamaForCausalLM, *parts: Any) -> Any:
        with torch.no_grad():
            llm.model.layers[1].mlp.down_proj.weight[0] += 0.1
        return assemble(llm, *parts)

    monkeypatch.setattr(serving, "assemble", bent)
    with pytest.raises(UserError, match=r"logits differ from the trained ones by .*nothing was written"):
        export(lora_run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("run", ["lora_run", "vision_lora_run"])
def test_the_parts_make_the_same_model_again(
    exported: Callable[[str], Path], run: str, request: pytest.FixtureRequest, llm: Path, tmp_path: Path
) -> None:
    parts = export_parts(request.getfixturevalue(run), tmp_path / "parts")
    assert {oct(file.stat().st_mode & 0o777) for file in parts.rglob("*.safetensors")} == {"0o644"}
    base = LlamaForCausalLM.from_pretrained(llm, dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, parts / "llm_adapter").merge_and_unload()
    again, _ = assemble(
        merged,
        CLIPVisionModel.from_pretrained(parts / "vision_tower", dtype=torch.float32),
        load_file(parts / "projector.safetensors"),
        AutoTokenizer.from_pretrained(llm),
        load_image_processor(parts / "vision_tower"),
    )
    whole, _, _ = load_llava(exported(run), dtype=torch.float32)
    expected = whole.state_dict()
    assert again.state_dict().keys() == expected.keys()
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0.01, atol=1e-3)  # the parts are bfloat16
    assert str(llm) not in (parts / "llm_adapter" / "adapter_config.json").read_text()


def test_parts_of_a_run_without_adapter_are_refused(full_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use export without --parts"):
        export_parts(full_run, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_an_unknown_dtype_is_told_before_loading(
    lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(lora_run), "--out", str(tmp_path / "out"), "--dtype", "int8"]
    monkeypatch.setattr(sys, "argv", ["llava-tuning", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "choose bfloat16, float16 or float32" in capsys.readouterr().err
