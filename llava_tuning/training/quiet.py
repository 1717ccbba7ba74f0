"""Keep other libraries' own bars and notes out of a run's output; warnings about the user's run stay."""

from __future__ import annotations

import logging
import sys
import warnings


def apply() -> None:
    """Silence what says nothing about the run; call it before bitsandbytes is imported."""
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    # On import, that an optional faster kernel for CPUs is absent.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # While layers are compiled, that this machine has CUDA's compiler and no GPU.
    logging.getLogger("torch.utils.cpp_extension").addFilter(_says_more_than_no_gpu)
    # peft asks transformers by the older name.
    warnings.filterwarnings("ignore", message=r".*is_gradient_checkpointing. is deprecated")


def _says_more_than_no_gpu(record: logging.LogRecord) -> bool:
    return "No CUDA runtime is found" not in record.getMessage()


# mmengine's warnings about its own parts, which no user of this project can or need act on.
ABOUT_ITSELF = (
    "Failed to search registry",
    "has no metainfo",
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


def keep_preamble_in_log_file() -> None:
    """Open mmengine's console for warnings only; `ProgressHook` opens it where it shows no bar.

    Environment, configuration and table of hooks are hundreds of lines; the log file keeps them.
    """
    from mmengine.logging import MMLogger

    original = MMLogger.__init__

    def quieter(self: MMLogger, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)
        set_console_level(self, logging.WARNING)
        for handler in _consoles(self):
            handler.addFilter(lambda record: not any(note in record.getMessage() for note in ABOUT_ITSELF))

    MMLogger.__init__ = quieter


def set_console_level(logger: logging.Logger, level: int) -> None:
    """The level of a logger's console; its file keeps every line."""
    for handler in _consoles(logger):
        handler.setLevel(level)


def _consoles(logger: logging.Logger) -> list[logging.Handler]:
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]
