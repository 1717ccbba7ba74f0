"""Start a run: check, print the plan, write the fitted config, hand over to XTuner in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from mmengine.config import Config

from llava_tuning.errors import UserError
from llava_tuning.runs.files import CONFIG_FILE
from llava_tuning.training import compat, quiet
from llava_tuning.training.checkpoint import check_deepspeed, read_position
from llava_tuning.training.estimate import CARDS, GIB, Card, card_named
from llava_tuning.training.places import check_place

PATIENCE = 1800  # seconds that a machine which is ready waits for the others
STRATEGIES = ("zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")  # XTuner's own
# What usually ends a process so. Compiled layers that get no GPU memory crash instead of raising an error.
COMPILED = (
    "most likely the GPU's memory ran out in a compiled layer: lower batch_size or batch_tokens by --set"
)
COMPILED_FOR_CPU = "maybe in a compiled layer: try --set compile_layers=False"
CAUSES = {
    -signal.SIGKILL: "most likely the machine's memory ran out, or someone ended it",
    -signal.SIGSEGV: COMPILED,
    -signal.SIGABRT: COMPILED,
}


def train(
    name: str,
    work_dir: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: str | None = None,
    deepspeed: str | None = None,
    nproc_per_node: int = 1,
    nnodes: int = 1,
    launcher_args: Sequence[str] = (),
    dry_run: bool = False,
    card: str | None = None,
    load_from: str | Path | None = None,
) -> int:
    """Train by a config; returns the training process's exit status.

    Args:
        name: a config's name or file.
        work_dir: where checkpoints, logs and curves go; `work_dirs/CONFIG` when None.
        settings: `NAME=VALUE` overrides.
        resume: "auto" for the newest checkpoint in the work directory, or a checkpoint's path.
        deepspeed: one of `STRATEGIES` or a DeepSpeed JSON file.
        nproc_per_node, nnodes, launcher_args: passed to torchrun.
        dry_run: stop after the plan.
        card: a GPU's name, to say whether the run fits it and how long it takes; this machine's when None.
        load_from: what this run begins with: an `iter_N.pth` of another run, or a folder of parts as
            `export --parts` writes them ("default" for the embedded model's), whose adapter and projector are
            trained further on their own vision tower.

    Raises:
        UserError: something the config names is missing or does not fit.
    """
    compat.apply()
    quiet.apply()
    from llava_tuning.training import preflight
    from llava_tuning.training.config import (
        config_path,
        load_settings,
        parse_settings,
    )
    from llava_tuning.training.dataset import read_samples
    from llava_tuning.training.fitting import fit_to_machine
    from llava_tuning.training.float8 import has_float8
    from llava_tuning.training.plan import plan
    from llava_tuning.training.start import (
        START,
        check_parts,
        check_resumed,
        check_stage,
        parts_named,
        settings_of,
        write_start,
    )

    if launcher_args and not launcher_args[0].startswith("-"):
        raise UserError(f"{launcher_args[0]}: not an option; settings are written as --set NAME=VALUE")
    if deepspeed is not None:
        _check_strategy(deepspeed)
        check_deepspeed("--deepspeed")
    if load_from is not None and deepspeed is not None:
        raise UserError("--load-from does not go with --deepspeed; leave one of them out")
    parts = parts_named(load_from)
    if load_from is not None and parts is None and resume is not None:
        raise UserError("--load-from begins a run and --resume goes on with one; give one of them")
    chosen = _card(card)
    path = config_path(name)
    work_dir = Path(work_dir or Path("work_dirs") / path.stem)
    check_place(work_dir, "--work-dir")
    overrides = parse_settings(settings)
    config = load_settings(path, overrides)
    if parts is not None:
        check_stage(config, parts)
        overrides = {**settings_of(parts, overrides), **overrides}
        config = load_settings(path, overrides)
    preflight.resolve_paths(config)
    config = load_settings(path, {**overrides, "llm": config.llm, "vision_tower": config.vision_tower})
    checkpoint = None
    if resume is not None:
        checkpoint = _checkpoint_to_resume(resume, work_dir, deepspeed is not None)
        check_resumed(checkpoint.parent, parts)
        if checkpoint.is_file():
            preflight.check_trained(config, checkpoint)
    if load_from is not None and parts is None:
        preflight.check_start(config, Path(load_from).expanduser())
    records = preflight.check(config)
    if parts is not None:
        check_parts(config, parts)
    if config.selection_sample is not None:
        preflight.check_selection(config, deepspeed)
    world_size = nproc_per_node * nnodes
    samples = read_samples(config, only_some=dry_run)
    if not dry_run:
        records = len(samples.lengths)
        preflight.check_machine(config, samples.lengths, deepspeed is not None)
    # A card that is named is one to plan for; a run is this machine's.
    float8 = chosen.float8 if dry_run and chosen is not None else has_float8()
    on_gpu = torch.cuda.is_available() or (dry_run and chosen is not None)
    fit_to_machine(config, samples.lengths, records, world_size, deepspeed, float8, on_gpu)
    if checkpoint is not None and checkpoint.is_file():
        print(_go_on(config, checkpoint, samples.lengths, world_size), flush=True)
    steps = config.train_cfg.max_iters
    made = plan(config, records, steps, samples, world_size, chosen, deepspeed is not None)
    print(made.describe(config), flush=True)
    if dry_run:
        return 0
    if checkpoint is not None:
        config.resume = True
        config.load_from = str(checkpoint)
    work_dir.mkdir(parents=True, exist_ok=True)
    if load_from is not None and checkpoint is None:
        start = Path(load_from).expanduser() if parts is None else write_start(parts, work_dir)
        config.load_from = str(start.resolve())
    if parts is None and checkpoint is None:
        (work_dir / START).unlink(missing_ok=True)  # of a run that was here before
    fitted = work_dir / CONFIG_FILE
    config.dump(fitted)
    if config.model.compile_layers:
        print("compiles    its layers where a compiler is found; the first steps take longer", flush=True)
    print(f"writing to  {work_dir}", flush=True)
    command = [sys.executable]
    # DeepSpeed asks for torchrun's variables even in a single process.
    distributed = world_size > 1 or deepspeed is not None
    if distributed:
        command += ["-m", "torch.distributed.run", f"--nproc-per-node={nproc_per_node}", f"--nnodes={nnodes}"]
        if nnodes > 1 and not any(word.replace("_", "-").startswith("--rdzv-conf") for word in launcher_args):
            # Every machine checks and tokenises for itself; torchrun would give a slow one a minute.
            # Its kinds of rendezvous name that differently: c10d has the first two, the static one the last.
            names = ("read_timeout", "join_timeout", "timeout")
            command.append("--rdzv-conf=" + ",".join(f"{name}={PATIENCE}" for name in names))
            print(f"waits       for the other machines, {PATIENCE // 60} minutes at most", flush=True)
        command += launcher_args
    command += ["-m", "llava_tuning.training.run", str(fitted), "--work-dir", str(work_dir)]
    if distributed:
        command += ["--launcher", "pytorch"]
    if deepspeed is not None:
        command += ["--deepspeed", deepspeed if Path(deepspeed).is_file() else f"deepspeed_{deepspeed}"]
    environment = {
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        # Rows differ in length: without it the GPU's memory breaks into pieces that fit none.
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        **os.environ,
    }
    status = subprocess.run(command, env=environment, check=False).returncode
    if status in CAUSES:
        print(
            f"llava-tuning: the training was ended by {signal.Signals(-status).name}, {cause_of(status)}"
            "; go on from its newest checkpoint with --resume",
            file=sys.stderr,
        )
    return status


def cause_of(status: int) -> str:
    """What usually ends a training process with one of the statuses of `CAUSES`."""
    cause = CAUSES[status]
    return COMPILED_FOR_CPU if cause is COMPILED and not torch.cuda.is_available() else cause


def _go_on(config: Config, checkpoint: Path, lengths: Sequence[int], world_size: int) -> str:
    """Fit the rest of a run's steps to where its checkpoint is in the data; returns what to say of it."""
    from llava_tuning.training.position import Layout, Position

    made, state = read_position(checkpoint)
    if state is None:
        return (
            f"resumes     after step {made:,}; {checkpoint} does not say where in the data it stopped: "
            f"taken for {made:,} steps of this config and number of processes"
        )
    position, layout = Position.of(state), Layout.of(config, world_size)
    if position.records != len(lengths):
        raise UserError(
            f"{checkpoint}: stopped in data of {position.records:,} records, {config.data_path} has "
            f"{len(lengths):,} that can be trained on; resume with the data and max_length of its run"
        )
    if position.layout == layout:
        if config.max_steps is None:
            _shift(config, position.ahead)
        return f"resumes     after step {made:,}, where it stopped in the data"
    place = position.moved(lengths, layout)
    if config.max_steps is None:
        per_epoch = config.train_cfg.max_iters / config.max_epochs
        later = (config.max_epochs - place.epoch - 1) * per_epoch
        left = max(0, round(place.steps_to_the_epochs_end(lengths) + later))
        _shift(config, config.train_cfg.max_iters - made - left)
    return (
        f"resumes     after step {made:,} of {position.layout.describe()}, now {layout.describe()}: "
        f"{len(lengths) - len(place.left_out):,} of {len(lengths):,} records of epoch {place.epoch + 1} are "
        f"left, {config.train_cfg.max_iters - made:,} steps; the learning rate is not adapted to the batch"
    )


def _shift(config: Config, ahead: int) -> None:
    """The schedule is so many steps ahead of the run's."""
    config.train_cfg.max_iters -= ahead
    config.train_cfg.ahead = ahead


def _card(name: str | None) -> Card | None:
    """The card that is asked for, or this machine's."""
    if name is not None:
        found = card_named(name)
        if found is None:
            known = ", ".join(card.name for card in CARDS)
            raise UserError(f"--card {name}: not known; choose one of {known}")
        return found
    if not torch.cuda.is_available():
        return None
    found = card_named(torch.cuda.get_device_name())
    gib = round(torch.cuda.get_device_properties(0).total_memory / GIB)
    return None if found is None else replace(found, gib=gib)


def all_checkpoints(work_dir: str | Path) -> list[Path]:
    """A work directory's checkpoints by step; files, or directories where DeepSpeed wrote them."""
    return sorted(Path(work_dir).glob("iter_*.pth"), key=step_of)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a work directory, or None."""
    checkpoints = all_checkpoints(work_dir)
    return checkpoints[-1] if checkpoints else None


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.stem.removeprefix("iter_"))


def _check_strategy(deepspeed: str) -> None:
    if deepspeed not in STRATEGIES and not Path(deepspeed).is_file():
        raise UserError(
            f"--deepspeed {deepspeed}: choose {', '.join(STRATEGIES)} or name a DeepSpeed JSON file"
        )


def _checkpoint_to_resume(resume: str, work_dir: Path, deepspeed: bool) -> Path:
    checkpoint = latest_checkpoint(work_dir) if resume == "auto" else Path(resume)
    if checkpoint is None:
        raise UserError(f"--resume: {work_dir} holds no checkpoint (iter_N.pth); start without --resume")
    if not checkpoint.exists():
        raise UserError(f"--resume-from {resume}: no such checkpoint; name the iter_N.pth of a run")
    if checkpoint.is_dir() != deepspeed:  # DeepSpeed's are directories
        written, remedy = ("by", "with") if checkpoint.is_dir() else ("without", "without")
        raise UserError(f"{checkpoint}: was written {written} DeepSpeed; resume it {remedy} --deepspeed")
    return checkpoint
