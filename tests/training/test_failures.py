"""What is wrong is told in a sentence and by exit status 2, before anything is loaded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, PreTrainedModel

from llava_tuning import cli
from llava_tuning.errors import UserError
from llava_tuning.training import launch
from llava_tuning.training import run as training_process
from llava_tuning.training.config import config_path
from llava_tuning.training.model import load_llm, load_vision_tower

PRETRAIN = "llava_smollm2_135m_clip_small_p14_112_e1_pretrain"
LORA = "llava_smollm2_135m_lora_clip_small_p14_112_e1_finetune"
Fail = Callable[..., str]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run `llava-tuning` in this process: exit status and what it says on stderr."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["llava-tuning", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.fixture
def fail(
    call: Callable[..., tuple[int, str]],
    settings: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Fail:
    """Train with changed settings and be refused before anything is loaded; returns the message."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something was loaded or started")

    def run(config: str = PRETRAIN, **changes: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(PreTrainedModel, "from_pretrained", forbidden)
        # Only here: libraries start programs of their own, e.g. to list fonts.
        monkeypatch.setattr(launch, "subprocess", SimpleNamespace(run=forbidden))
        before = sorted(tmp_path.rglob("*"))
        options = [part for pair in settings(**changes) for part in ("--set", pair)]
        status, said = call("train", config, "--work-dir", tmp_path / "run", *options)
        assert status == 2, said
        assert said.startswith("llava-tuning: ")
        assert sorted(tmp_path.rglob("*")) == before
        return said.removeprefix("llava-tuning: ").strip()

    return run


@pytest.mark.parametrize("name", ["llm", "vision_tower"])
def test_a_wrong_model_path(name: str, fail: Fail) -> None:
    said = fail(**{name: "models/nowhere"})
    assert said.startswith(f"{name} = models/nowhere: no such model directory") and "prepare" in said
    assert f"--set {name}=DIR" in fail(**{name: ""})
    assert said.count("\n") == 0


def test_a_language_model_that_is_not_prepared(fail: Fail, llm: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(llm, tmp_path / "raw")
    config = json.loads((raw / "config.json").read_text())
    (raw / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    assert f"`llava-tuning prepare {raw} --out DIR`" in fail(llm=raw)


def test_a_language_model_without_chat_template(fail: Fail, llm: Path, tmp_path: Path) -> None:
    base = shutil.copytree(llm, tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    assert "no chat template; take an instruction-tuned (chat) model" in fail(llm=base)


def test_a_chat_template_that_never_ends_an_answer(fail: Fail, llm: Path, tmp_path: Path) -> None:
    base = shutil.copytree(llm, tmp_path / "base")
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}")
    assert "its chat template ends an answer with no special token" in fail(llm=base)


def test_a_vision_tower_without_picture_processor(fail: Fail, vision_tower: Path, tmp_path: Path) -> None:
    tower = shutil.copytree(vision_tower, tmp_path / "tower")
    for file in tower.glob("*processor_config.json"):
        file.unlink()
    assert "no preprocessor_config.json" in fail(vision_tower=tower)


def test_a_missing_projector(fail: Fail) -> None:
    assert fail(LORA, projector_checkpoint="gone.pth").startswith(
        "projector_checkpoint = gone.pth: no such file; name the iter_N.pth of a pretrain run"
    )
    assert "set it to that run's iter_N.pth" in fail(LORA)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"projector.model.0.weight": torch.zeros(32, 24)}, "a projector 24 → 32, but these .* need 16 → 32"),
        ({"llm.weight": torch.zeros(1)}, "holds no projector"),
        ([1, 2], "not readable as weights alone"),
    ],
)
def test_a_projector_of_other_base_models(state: Any, message: str, fail: Fail, tmp_path: Path) -> None:
    checkpoint = tmp_path / "iter_9.pth"
    torch.save(state if isinstance(state, list) else {"state_dict": state}, checkpoint)
    said = fail(LORA, projector_checkpoint=checkpoint)
    assert str(checkpoint) in said and said.count("\n") == 0
    assert re.search(message, said)


def test_a_file_that_is_no_checkpoint_as_projector(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "iter_9.pth").write_text("half a download")
    assert "iter_9.pth: not readable as weights alone" in fail(
        LORA, projector_checkpoint=tmp_path / "iter_9.pth"
    )


def test_a_missing_picture(fail: Fail, data: Path, tmp_path: Path) -> None:
    rows = json.loads((data / "pretrain.json").read_text())
    rows[3]["image"] = "images/gone.png"
    (tmp_path / "broken.json").write_text(json.dumps(rows))
    said = fail(data_path=tmp_path / "broken.json")
    assert f"names {data}/images/gone.png, which does not exist; mend the path" in said
    assert rows[3]["id"] in said and "llava-tuning data check" in said
    said = fail(evaluation_images=["nothing.png"])
    assert said == f"evaluation_images: {data}/nothing.png is missing; name a picture in image_folder"


def test_missing_data_and_folder(fail: Fail) -> None:
    assert fail(data_path="gone.json") == "gone.json: no such data file; check the path"
    assert fail(image_folder="gone", evaluation_images=[]) == "image_folder = gone: no such directory"
    assert fail(image_folder=None, evaluation_images=[]) == "image_folder = None: no such directory"


def test_a_max_length_that_leaves_nothing_to_learn(fail: Fail, data: Path) -> None:
    assert fail(max_length=16) == "max_length = 16: one picture alone takes 16 tokens; set it above that"
    said = fail(max_length=45)
    assert "has no token left to train on" in said and "of 45; shorten" in said
    assert f"{data}/mixed.json: 10 records cannot be trained on" in said and "… and 5 more" in said


def test_an_unknown_setting(fail: Fail) -> None:
    said = fail(learning_rate=1e-3)
    assert said.startswith("--set learning_rate: no such setting; known are") and " lr, " in said


def test_a_setting_of_the_wrong_kind(fail: Fail) -> None:
    assert fail(max_length="long") == "max_length = long: give a whole number of 1 or more"
    assert fail(batch_size=0) == "batch_size = 0: give a whole number of 1 or more"
    assert fail(lr="1e-3x") == "lr = 1e-3x: give a number above 0, e.g. 2e-4"
    assert fail(load_in_4bit="false") == "load_in_4bit = false: give True or False"
    assert fail(evaluation_images="a.png").startswith("evaluation_images = a.png: give a list of texts")
    assert fail(llm_lora=8).startswith("llm_lora = 8: give peft's LoraConfig as a dict")


def test_a_setting_without_a_value(call: Callable[..., tuple[int, str]]) -> None:
    assert call("train", PRETRAIN, "--set", "lr") == (2, "llava-tuning: --set lr: write it as NAME=VALUE\n")


def test_an_unknown_config_suggests_similar_ones(call: Callable[..., tuple[int, str]]) -> None:
    for command in (("train",), ("config", "show"), ("config", "copy")):
        status, said = call(*command, "llava_smollm2_pretrain")
        assert status == 2
        assert said.startswith("llava-tuning: llava_smollm2_pretrain: no such config file or name; similar: ")
        assert PRETRAIN in said


@pytest.mark.training
def test_4_bit_without_a_gpu(fail: Fail, projector: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    said = fail(LORA, projector_checkpoint=projector, load_in_4bit=True)
    assert said == "load_in_4bit needs an NVIDIA GPU and none was found; use the LoRA config instead"


@pytest.mark.training
def test_a_crash_in_training_is_the_commands_exit_status(
    settings: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A model of one's own whose code fails, which only running it shows."""
    source = config_path(PRETRAIN)
    text = source.read_text().replace("../_base_", str(source.parents[1] / "_base_"))
    own = tmp_path / "own.py"
    own.write_text(text + '\nmodel = dict(type="llava_tuning.training.model.NoSuchLLaVAModel")\n')
    options = [part for pair in settings() for part in ("--set", pair)]
    command = [sys.executable, "-m", "llava_tuning", "train", own, "--work-dir", tmp_path / "run", *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode not in (0, 2)
    assert "NoSuchLLaVAModel" in result.stderr


@pytest.mark.parametrize(("ended", "status"), [(0, 0), (1, 1), (2, 2), (-9, 137)])
def test_the_training_processs_status_is_passed_on(
    ended: int,
    status: int,
    call: Callable[..., tuple[int, str]],
    settings: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, ended)

    monkeypatch.setattr(launch.subprocess, "run", run)
    options = [part for pair in settings() for part in ("--set", pair)]
    assert call("train", PRETRAIN, "--work-dir", tmp_path / "run", *options)[0] == status


@pytest.mark.parametrize("ended", [-11, -6])
def test_a_gpus_crash_is_most_likely_a_lack_of_its_memory(
    ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: True)
    assert "GPU's memory ran out in a compiled layer" in launch.cause_of(ended)


@pytest.mark.parametrize(
    ("ended", "cause"), [(-9, "machine's memory"), (-11, "compiled layer: try --set compile_layers=False")]
)
def test_a_crash_is_told_with_its_likely_cause(
    ended: int,
    cause: str,
    call: Callable[..., tuple[int, str]],
    settings: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = subprocess.run

    def crash(_: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        return real([sys.executable, "-c", f"import os; os.kill(os.getpid(), {-ended})"], check=False)

    monkeypatch.setattr(launch.subprocess, "run", crash)
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: False)
    options = [part for pair in settings() for part in ("--set", pair)]
    status, said = call("train", PRETRAIN, "--work-dir", tmp_path / "run", *options)
    assert status == 128 - ended and cause in said and "--resume" in said


def test_the_training_process_tells_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import xtuner.tools.train
    from mmengine.logging import MMLogger

    monkeypatch.setattr(MMLogger, "__init__", MMLogger.__init__)  # put back after the test

    def told() -> None:
        raise UserError("models/x: lacks the weights w; prepare it again")

    monkeypatch.setattr(xtuner.tools.train, "main", told)
    with pytest.raises(SystemExit) as end:
        training_process.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "llava-tuning: models/x: lacks the weights w; prepare it again\n"


def test_a_lack_of_gpu_memory_is_a_sentence_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import xtuner.tools.train
    from mmengine.logging import MMLogger

    monkeypatch.setattr(MMLogger, "__init__", MMLogger.__init__)  # put back after the test

    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 522.00 MiB.")

    monkeypatch.setattr(xtuner.tools.train, "main", full)
    with pytest.raises(SystemExit) as end:
        training_process.main()
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert "batch_tokens" in said and "--resume" in said and "522.00 MiB" in said


@pytest.mark.parametrize(("part", "load"), [("llm", load_llm), ("vision_tower", load_vision_tower)])
def test_missing_weights_are_not_made_up(
    part: str, load: Callable[[str], object], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lacking = shutil.copytree(request.getfixturevalue(part), tmp_path / "lacking")
    state = load_file(lacking / "model.safetensors")
    name = next(name for name in state if "layers.1." in name and "mlp" in name)
    del state[name]
    save_file(state, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"lacking: lacks the weights .*{re.escape(name[-20:])}"):
        load(str(lacking))


def test_the_vision_tower_may_be_a_whole_clip(tmp_path: Path) -> None:
    """As `openai/clip-vit-large-patch14-336` is published."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    whole = CLIPModel(
        CLIPConfig(
            text_config=CLIPTextConfig(vocab_size=8, **sizes),
            vision_config=CLIPVisionConfig(image_size=32, patch_size=8, **sizes),
            projection_dim=16,
        )
    )
    whole.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"crop_size": 32, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3})
    )
    tower = load_vision_tower(str(tmp_path)).eval()
    picture = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        found, expected = tower(picture), whole.eval().vision_model(picture)
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state)


def refused(call: Callable[..., tuple[int, str]], *arguments: str | Path) -> str:
    """The one sentence with which a command refuses."""
    status, said = call(*arguments)
    assert status == 2
    assert said.startswith("llava-tuning: ") and said.count("\n") == 1, said
    return said.removeprefix("llava-tuning: ").strip()


def test_a_config_that_is_none(call: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\xa0")
    for command in ("show", "copy"):
        said = refused(call, "config", command, bad)
        assert said.startswith(f"{bad}: not a") and "`llava-tuning config list`" in said
    assert refused(call, "config", "list", "-p", "zzz").startswith("--pattern zzz: no config's name holds it")


def test_a_place_that_is_a_file_or_cannot_be_written(
    call: Callable[..., tuple[int, str]], data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "config.py").touch()
    commands = {
        "--out": [("export", tmp_path), ("train-clip", data / "pretrain.json")],
        "--directory": [("config", "copy", PRETRAIN)],
        "--work-dir": [("train", PRETRAIN)],
    }
    closed = Path("/proc/closed")  # not even root can make it
    for option, starts in commands.items():
        for start in starts:
            said = refused(call, *start, option, file / "out")
            assert said == f"{option} {file / 'out'}: {file} is a file; name a directory"
            if sys.platform == "linux":
                said = refused(call, *start, option, closed)
                assert said.startswith(f"{option} {closed}: /proc cannot be written")
                assert said.endswith("choose another place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.py", "file"]


def test_an_unknown_deepspeed_strategy(call: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    said = refused(call, "train", PRETRAIN, "--work-dir", tmp_path / "run", "--deepspeed", "zero9")
    assert said.startswith("--deepspeed zero9: choose zero1, zero2, ")
    assert not (tmp_path / "run").exists()
