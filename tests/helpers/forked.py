"""`python -m MODULE` as a fork of a process that has imported the libraries, which takes seconds each time.

A child has its own arguments, environment, folder, limit of file sizes and streams, and ends as the
program ends. What libraries read from the environment while they are imported is the tests' own: where that
matters, and where starting itself is tested, Python is started.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, reduction
from pathlib import Path
from typing import Any, TextIO

HELPERS = Path(__file__).parent
_context = multiprocessing.get_context("forkserver")
_run = subprocess.run  # before a test replaces it


class Forked:
    """A running program.

    Args:
        command: `sys.executable`, "-m", a module and its arguments.
        streams: descriptors that become its standard input, output and errors.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        streams: tuple[int, int, int] = (0, 1, 2),
    ) -> None:
        assert is_module(command), command
        _start_server()
        given = (
            [str(word) for word in command[2:]],
            dict(os.environ if env is None else env),
            str(cwd or Path.cwd()),
            resource.getrlimit(resource.RLIMIT_FSIZE),
            tuple(_Stream(stream) for stream in streams),
        )
        self._process = _context.Process(target=_perform, args=given)
        self._process.start()

    def poll(self) -> int | None:
        """The exit status of one that has ended."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To one that has not ended."""
        if self._process.exitcode is None and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(self._process.pid, number)

    def terminate(self) -> None:
        """As `send_signal`, with SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As `send_signal`, with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended; negative for a signal."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked program", timeout or 0)
        return self._process.exitcode


def run(
    command: Sequence[str | Path], *, input: str | None = None, capture_output: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` in text mode; what is no module of this Python's is run by it.

    Args:
        options: `env`, `cwd` and `timeout`; others are for `subprocess.run` alone.
    """
    if not is_module(command):
        return _run(command, input=input, capture_output=capture_output, **options)  # type: ignore[call-overload]
    known = {name: options.get(name) for name in ("env", "cwd")}
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        asked.write((input or "").encode())
        asked.seek(0)
        streams = (asked.fileno(), *((out.fileno(), err.fileno()) if capture_output else (1, 2)))
        status = Forked(command, **known, streams=streams).wait(options.get("timeout"))
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode() if capture_output else None)
    return subprocess.CompletedProcess(command, status, *texts)


def start(command: Sequence[str | Path], **options: Any) -> tuple[Forked, TextIO]:
    """A running program and what it prints, errors among it.

    Args:
        options: `env` and `cwd`.
    """
    read, write = os.pipe()
    with Path(os.devnull).open() as nothing:
        program = Forked(command, **options, streams=(nothing.fileno(), write, write))
    os.close(write)
    return program, os.fdopen(read)


def is_module(command: Sequence[str | Path]) -> bool:
    """Whether this is `python -m` of the project's."""
    words = [str(word) for word in command]
    return words[:2] == [sys.executable, "-m"] and words[2].split(".")[0] in ("llava_tuning", "app")


class _Stream:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:  # while a process is started, descriptors can go along
        return _received, (reduction.DupFd(self.descriptor),)


def _received(passed: Any) -> int:
    return int(passed.detach())


def _start_server() -> None:
    """Once; it ends with the tests. Python 3.11's does not look for modules where this process does."""
    _context.set_forkserver_preload(["preloaded"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (HELPERS, HELPERS.parents[1])))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _perform(
    words: list[str],
    environment: dict[str, str],
    folder: str,
    file_sizes: tuple[int, int],
    streams: tuple[int, int, int],
) -> None:
    """In the child."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # as TMPDIR says now
    resource.setrlimit(resource.RLIMIT_FSIZE, file_sizes)
    if threads := environment.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # as a program waits for its threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
