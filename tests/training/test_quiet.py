"""A run's console shows the run; what other libraries say about themselves is in the log file or nowhere."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger

from llava_tuning.training import quiet
from llava_tuning.training.hooks import ProgressHook


def test_the_preamble_is_in_the_log_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MMLogger, "__init__", MMLogger.__init__)  # put back after the test
    quiet.keep_preamble_in_log_file()
    logger = MMLogger("run", log_file=str(tmp_path / "run.log"))
    logger.info("System environment")
    logger.warning("something is odd")
    logger.warning('"FileClient" will be deprecated in future.')
    ProgressHook().before_train(SimpleNamespace(logger=logger))
    logger.info("step 0")
    shown = capsys.readouterr().out
    assert "something is odd" in shown and "step 0" in shown and "System environment" not in shown
    assert "FileClient" not in shown
    logged = (tmp_path / "run.log").read_text(encoding="utf-8")
    lines = ("System environment", "something is odd", "FileClient", "step 0")
    assert all(line in logged for line in lines)


def test_loading_a_model_shows_no_bar_and_no_note_of_a_library(llm: Path) -> None:
    code = (
        "from llava_tuning.training import compat, quiet\n"
        "compat.apply(); quiet.apply()\n"
        "import bitsandbytes, datasets\n"
        "from llava_tuning.training.model import load_llm\n"
        f"load_llm({str(llm)!r})\n"
        "datasets.Dataset.from_dict({'a': [1]}).map(lambda row: row)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (result.stdout, result.stderr) == ("", "")


def test_other_warnings_are_still_shown() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quiet.apply()
        warnings.warn(
            "`is_gradient_checkpointing` is deprecated and will be removed", FutureWarning, stacklevel=1
        )
        warnings.warn("the loss is not finite", FutureWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["the loss is not finite"]
    assert logging.getLogger("bitsandbytes").isEnabledFor(logging.WARNING)


def test_of_building_code_only_the_lack_of_a_gpu_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    quiet.apply()
    logger = logging.getLogger("torch.utils.cpp_extension")
    logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/usr/local")
    logger.warning("ninja not found")
    assert [record.getMessage() for record in caplog.records] == ["ninja not found"]
