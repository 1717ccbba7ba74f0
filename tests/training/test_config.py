"""The project's configs: each loads, names its own command, and can be copied; schedules of short runs."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from llava_tuning.errors import UserError
from llava_tuning.training import fitting, launch
from llava_tuning.training.config import (
    ADDED,
    OF_PICTURES,
    PLACES,
    TEXT_STAGE,
    config_names,
    config_path,
    copy_config,
    load_settings,
    parse_settings,
)
from llava_tuning.training.fitting import fit_to_machine, schedule, total_steps

# Records of the data sets that configs name, where these are of a known size.
EVERYDAY = "llava_smollm2_135m_lora_clip_small_p14_112_lora_e2_finetune"  # of assets/demo/Makefile
PRETRAIN = "llava_smollm2_135m_clip_small_p14_112_e1_pretrain"
RECORDS = {
    "blip_laion_cc_sbu_558k.json": 558_128,
    "data/easy_vqa/pretrain.json": 4_000,
}


def header(name: str) -> str:
    text = config_path(name).read_text(encoding="utf-8")
    lines = text[: text.index("_base_")].splitlines()
    assert all(line.startswith("#") for line in lines if line)
    return "\n".join(line.removeprefix("#").strip() for line in lines)


def value_at(config: object, place: str) -> object:
    for key in place.split("."):
        config = config[int(key)] if key.isdigit() else config[key]  # type: ignore[index]
    return config


@pytest.mark.parametrize("name", config_names())
def test_every_config_puts_its_settings_where_xtuner_reads_them(name: str) -> None:
    config = load_settings(config_path(name))
    text = config.stage == TEXT_STAGE
    for setting, places in PLACES.items():
        for place in places if not text or setting not in OF_PICTURES else ():
            assert value_at(config, place) == config[setting], (setting, place)
    assert (config.model.llm_lora is None) == (config.llm_lora is None)
    assert config.stage in name and ("lora" in name) == (config.llm_lora is not None)
    assert ("qlora" in name) == config.load_in_4bit
    assert config.freeze_llm == (config.stage == "pretrain" or "lora" in name)


@pytest.mark.parametrize("name", config_names())
def test_every_header_names_its_own_command(name: str) -> None:
    commands = re.findall(r"llava-tuning train (\S+)", header(name))
    assert commands and set(commands) == {name}


@pytest.mark.parametrize(
    "name", [name for name in config_names() if name.endswith("finetune") and name != EVERYDAY]
)
def test_a_finetune_header_starts_from_the_last_checkpoint_of_its_pretraining(name: str) -> None:
    found = re.search(r"projector_checkpoint=work_dirs/(\S+)/iter_(\d+)\.pth", header(name))
    assert found
    config = load_settings(config_path(found[1]))
    records = next(count for file, count in RECORDS.items() if config.data_path.endswith(file))
    assert int(found[2]) == total_steps(config, [], records, world_size=8 if "gpu8" in name else 1)
    own = load_settings(config_path(name))
    assert (own.llm, own.vision_tower) == (config.llm, config.vision_tower)


def test_the_everyday_header_starts_from_the_last_checkpoint_of_its_makefile() -> None:
    makefile = (Path(__file__).parents[2] / "assets" / "demo" / "Makefile").read_text(encoding="utf-8")
    steps = re.search(r"STEPS1 := (\d+)", makefile)
    found = re.search(r"projector_checkpoint=bundled/pretrain/iter_(\d+)\.pth", header(EVERYDAY))
    assert steps and found and f"FINETUNE := {EVERYDAY}\n" in makefile
    assert found[1] == steps[1] and "--set max_steps=$(STEPS1)" in makefile


@pytest.mark.parametrize("name", config_names())
def test_a_copy_loads_as_the_original_and_is_never_overwritten(name: str, tmp_path: Path) -> None:
    copy = copy_config(name, tmp_path)
    assert load_settings(copy).to_dict() == load_settings(config_path(name)).to_dict()
    copy.write_text(copy.read_text() + "\nlr = 0.5\n")
    base = tmp_path / "_base_" / "common.py"
    base.write_text(base.read_text() + "\nseed = 7\n")
    with pytest.raises(UserError, match="is there already"):
        copy_config(name, tmp_path)
    other = next(n for n in config_names() if n != name)
    assert load_settings(copy_config(other, tmp_path)).seed == 7  # an edited base is kept
    assert load_settings(copy).optim_wrapper.optimizer.lr == 0.5


def test_settings_are_read_as_python_or_text() -> None:
    pairs = ["lr=1e-4", "llm=models/x", "evaluation_images=['a.png']", "llm_lora.r=4", "llm_lora=None"]
    assert parse_settings(pairs) == {
        "lr": 1e-4,
        "llm": "models/x",
        "evaluation_images": ["a.png"],
        "llm_lora.r": 4,
        "llm_lora": None,
    }


def test_a_bad_config_file_is_named(tmp_path: Path) -> None:
    for text, message in (("lr = = 1", "not a valid config"), ("lr = 1", "lacks the settings llm")):
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(UserError, match=message):
            load_settings(tmp_path / "bad.py")


@pytest.mark.parametrize("total", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.03, 0.5])
def test_short_schedules_learn_in_every_step_but_warm_ups_first(total: int, warmup_ratio: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(settings, default_args={"optimizer": optimizer})
        for settings in schedule(total, warmup_ratio)
    ]
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer did not step
            for scheduler in schedulers:
                scheduler.step()
    warms_up = total > 2 and warmup_ratio > 0
    assert rates[0] == (pytest.approx(1e-5) if warms_up else 1.0)
    assert max(rates) == pytest.approx(1.0)
    assert all(0 < rate < 1 + 1e-9 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert total < 100 or rates[-1] < 0.01


def test_steps_count_records_processes_and_epochs() -> None:
    config = load_settings(config_path("llava_smollm2_135m_clip_small_p14_112_e1_pretrain"))
    assert total_steps(config, [100] * 33, 33) == 3  # batches of 16
    assert total_steps(config, [100] * 33, 33, world_size=2) == 2
    config.max_epochs = 2
    assert total_steps(config, [100] * 33, 33) == 6
    config.max_steps = 5
    assert total_steps(config, [100] * 33, 33) == 5
    fit_to_machine(config, [100] * 33)
    assert config.train_cfg.max_iters == 5
    assert config.default_hooks.checkpoint.interval == 5  # save_steps is 500: a short run saves at its end


def test_a_row_of_tokens_takes_the_place_of_a_number_of_records() -> None:
    config = load_settings(
        config_path("llava_smollm2_135m_clip_small_p14_112_e1_pretrain"), {"batch_tokens": 400}
    )
    assert total_steps(config, [100] * 33, 33) == 9  # four to a row
    assert total_steps(config, [100] * 33, 3300) == 900  # of which those are a part
    assert total_steps(config, [100] * 33, 33, world_size=2) == 5
    fit_to_machine(config, [100] * 33)
    assert config.train_dataloader.batch_sampler.max_tokens == 400
    assert config.train_cfg.max_iters == 9


def test_a_copy_of_an_older_config_still_loads(tmp_path: Path) -> None:
    """It lacks the settings that came later."""
    copied = copy_config("llava_smollm2_135m_clip_small_p14_112_e1_pretrain", tmp_path)
    base = tmp_path / "_base_" / "common.py"
    lines = base.read_text().splitlines()
    base.write_text("\n".join(line for line in lines if not line.startswith(tuple(ADDED))))
    config = load_settings(copied)
    assert {name: config[name] for name in ADDED} == ADDED


@pytest.mark.parametrize(
    ("what", "strategy", "compiled"),
    [
        ("finetune", None, True),
        ("finetune", "zero2", True),
        ("finetune", "zero3", False),
        ("finetune", "my_strategy.json", False),
        ("lora", "zero2", False),
    ],
)
def test_under_deepspeed_only_what_was_tried_is_compiled(
    what: str, strategy: str | None, compiled: bool
) -> None:
    lora = "lora_" if what == "lora" else ""
    name = f"llava_internlm2_chat_1_8b_{lora}clip_vit_large_p14_336_e1_gpu8_finetune"
    config = load_settings(config_path(name), {"max_steps": 2000})
    fit_to_machine(config, [100] * 33, deepspeed=strategy, float8=True, on_gpu=True)
    assert config.model.compile_layers is compiled
    assert config.frozen_fp8 == (False if strategy else "backward")


@pytest.mark.parametrize(
    ("asked", "steps", "float8", "used"),
    [
        ("auto", 1000, True, "backward"),
        ("auto", 1000, False, False),
        ("auto", 20, True, False),  # interpreted
        (True, 20, True, True),
        (False, 1000, True, False),
    ],
)
def test_gradients_are_in_float8_by_default_where_that_pays(
    asked: object, steps: int, float8: bool, used: object
) -> None:
    settings = {"max_steps": steps, "frozen_fp8": asked}
    config = load_settings(config_path("llava_smollm2_135m_clip_small_p14_112_e1_pretrain"), settings)
    fit_to_machine(config, [100] * 33, float8=float8)
    assert config.frozen_fp8 == config.model.frozen_fp8 == used


@pytest.mark.parametrize(
    ("kind", "gpu", "enough"),
    [("pretrain", False, 100), ("lora", False, 400), ("pretrain", True, 300), ("lora", True, 1500)],
)
def test_a_run_is_compiled_from_so_many_steps(
    kind: str, gpu: bool, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(fitting, "fast_dtype", lambda device: torch.bfloat16)
    lora, stage = ("lora_", "finetune") if kind == "lora" else ("", "pretrain")
    path = config_path(f"llava_smollm2_135m_{lora}clip_small_p14_112_e1_{stage}")
    for steps in (enough - 1, enough):
        config = fit_to_machine(load_settings(path, {"max_steps": steps}), [100] * 33)
        assert config.model.compile_layers is (steps == enough)


@pytest.mark.parametrize(("world_size", "deepspeed"), [(2, None), (1, "zero2")])
def test_cpus_compile_in_one_process_alone(
    world_size: int, deepspeed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_finetune"
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        monkeypatch.setattr(fitting, "fast_dtype", lambda device: torch.bfloat16)
        config = load_settings(config_path(name), {"max_steps": 2000})
        fit_to_machine(config, [100] * 33, world_size=world_size, deepspeed=deepspeed)
        assert config.model.compile_layers is gpu


@pytest.mark.parametrize(("card", "dry_run", "compiled"), [("A100", True, False), ("A100", False, True)])
def test_a_card_that_is_named_counts_in_a_plan_alone(
    card: str,
    dry_run: bool,
    compiled: bool,
    start: Callable[..., int],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """250 steps are compiled on a CPU, and not on a GPU."""
    fitted: list[Config] = []

    def note(*asked: Any) -> Config:
        fitted.append(fit_to_machine(*asked))
        return fitted[-1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(fitting, "fit_to_machine", note)
    monkeypatch.setattr(launch.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    options = {"card": card, "dry_run": dry_run}
    assert start("pretrain", tmp_path, options, data_path=data / "pretrain.json", max_steps=250) == 0
    assert [config.model.compile_layers for config in fitted] == [compiled]


def test_float8_of_a_planned_card_waits_for_its_own_steps() -> None:
    for steps, used in ((250, False), (300, "backward")):
        config = load_settings(
            config_path("llava_smollm2_135m_clip_small_p14_112_e1_pretrain"), {"max_steps": steps}
        )
        assert fit_to_machine(config, [100] * 33, float8=True, on_gpu=True).frozen_fp8 == used


@pytest.mark.parametrize("words", [["nope"], [PRETRAIN, "--set", "nope=1"], [PRETRAIN, "--set", "lr"]])
def test_a_mistyped_word_is_told_before_torch_is_imported(words: list[str]) -> None:
    code = (
        "import sys\nfrom llava_tuning.cli import main\n"
        f"sys.argv = {['llava-tuning', 'train', *words]!r}\n"
        "try: main()\nexcept SystemExit as error: print(error.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"] and words[-1].split("=")[0] in done.stderr
