"""Broken base models, settings and runs: a sentence that names them, status 2, and no code of theirs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llava_tuning.errors import UserError
from llava_tuning.training import preflight
from llava_tuning.training.config import config_path, load_settings
from llava_tuning.training.export import export
from llava_tuning.training.launch import train

PRETRAIN = "llava_smollm2_135m_clip_small_p14_112_e1_pretrain"
REMOTE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"


@pytest.fixture
def refused(settings: Callable[..., list[str]], tmp_path: Path) -> Callable[..., str]:
    """What a dry run with changed settings says; it must refuse them."""

    def run(**changes: object) -> str:
        with pytest.raises(UserError) as error:
            train(PRETRAIN, tmp_path / "run", settings(**changes), dry_run=True)
        return str(error.value)

    return run


def test_a_models_own_code_is_never_run(
    refused: Callable[..., str], llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = shutil.copytree(llm, tmp_path / "raw")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    for name in ("configuration_other.py", "tokenization_other.py"):
        (raw / name).write_text(REMOTE)
    config = json.loads((raw / "config.json").read_text())
    own = {"AutoConfig": "configuration_other.OtherConfig"}
    (raw / "config.json").write_text(json.dumps({**config, "model_type": "other", "auto_map": own}))
    assert f"`llava-tuning prepare {raw} --out DIR`" in refused(llm=raw)
    (raw / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((raw / "tokenizer_config.json").read_text())
    own = {"AutoTokenizer": ["tokenization_other.OtherTokenizer", None]}
    (raw / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "auto_map": own}))
    assert "asks for code of its own, which is never run" in refused(llm=raw)
    assert not (raw / "ran").exists()


@pytest.mark.parametrize(
    ("part", "file", "content", "message"),
    [
        ("llm", "config.json", "{", "not valid JSON"),
        ("llm", "tokenizer.json", "{", "its tokenizer cannot be loaded"),
        ("llm", "model.safetensors", None, "no weights"),
        ("vision_tower", "config.json", "{", "not valid JSON"),
        ("vision_tower", "model.safetensors", None, "no weights"),
        ("vision_tower", "preprocessor_config.json", "{", "picture processor cannot be read"),
        ("vision_tower", "preprocessor_config.json", "{}", "no 'crop_size'"),
    ],
)
def test_a_damaged_base_model(
    part: str,
    file: str,
    content: str | None,
    message: str,
    refused: Callable[..., str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    base = shutil.copytree(request.getfixturevalue(part), tmp_path / "base")
    if content is None:
        (base / file).unlink()
    else:
        (base / file).write_text(content)
    said = refused(**{part: base})
    assert message in said and str(base) in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("llm", 5),
        ("data_path", 5),
        ("image_folder", 5),
        ("warmup_ratio", "abc"),
        ("weight_decay", "abc"),
        ("betas", 5),
        ("seed", "abc"),
        ("stage", "foo"),
        ("evaluation_images", [5]),
    ],
)
def test_a_setting_that_makes_no_sense(name: str, value: object, refused: Callable[..., str]) -> None:
    assert refused(**{name: value}).startswith(f"{name} = {value}: give ")


def test_a_directory_as_projector(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(projector_checkpoint=tmp_path)
    assert said.startswith(f"projector_checkpoint = {tmp_path}: is a directory; name the iter_N.pth")


def test_a_picture_to_ask_about_that_is_none(refused: Callable[..., str]) -> None:
    assert "pretrain.json" in refused(evaluation_images=["pretrain.json"])


def test_a_config_without_a_settings_place(tmp_path: Path) -> None:
    base = (
        config_path(PRETRAIN)
        .read_text()
        .replace("../_base_", str(config_path(PRETRAIN).parents[1] / "_base_"))
    )
    (tmp_path / "own.py").write_text(base + "\noptim_wrapper = dict(_delete_=True, optimizer=5)\n")
    with pytest.raises(
        UserError, match=r"own\.py: there is no optim_wrapper\.optimizer\.lr, where lr belongs"
    ):
        load_settings(tmp_path / "own.py")


def test_an_option_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch_size=4: not an option; .*--set NAME=VALUE"):
        train(PRETRAIN, tmp_path, launcher_args=["batch_size=4"], dry_run=True)


@pytest.mark.training
def test_a_run_does_not_go_on_from_another_stages_checkpoint(
    load_config: Callable[..., object], projector: Path, lora_run: Path
) -> None:
    with pytest.raises(UserError, match="did not train the language model by LoRA, other than this config"):
        preflight.check_trained(load_config("lora"), projector)
    with pytest.raises(UserError, match="trained the language model by LoRA, other than this config"):
        preflight.check_trained(load_config("pretrain"), lora_run / "iter_10.pth")
    preflight.check_trained(load_config("lora"), lora_run / "iter_10.pth")
    preflight.check_trained(load_config("pretrain"), projector)


@pytest.mark.training
def test_resuming_is_checked_on_a_dry_run_too(settings: Callable[..., list[str]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        train(PRETRAIN, tmp_path / "run", settings(), resume="auto", dry_run=True)


@pytest.mark.training
def test_an_export_whose_run_is_damaged(lora_run: Path, llm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copyfile(lora_run / "iter_10.pth", run / "iter_10.pth")
    config = (lora_run / "config.py").read_text()
    (run / "config.py").write_text(config.replace(str(llm), str(tmp_path / "moved")))
    with pytest.raises(UserError, match=r"config\.py: llm = .*moved is gone; put the base model back"):
        export(run, tmp_path / "out")
    (run / "config.py").write_text("llm = (")
    with pytest.raises(UserError, match=r"config\.py: not readable"):
        export(run, tmp_path / "out")
    (run / "config.py").write_text("")
    with pytest.raises(UserError, match=r"config\.py: not a run's config"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
