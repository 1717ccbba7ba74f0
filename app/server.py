"""Start the web app: check what can be wrong in a second, load the model, then open the page."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app import zero_gpu
from app.announcement import announce
from app.checks import check_writable, read_root_path
from app.folders import Folders
from llava_tuning.address import check_address
from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from app.protection import Credentials
    from llava_tuning.inference.backend import ChatBackend
    from llava_tuning.inference.openai_client import Endpoint

SHUTDOWN_S = 3  # how long answers under way may take when the app is stopped


@dataclass(frozen=True)
class Remote:
    """A model behind an OpenAI-compatible address, in place of one that is loaded here.

    Args:
        base_url: the address up to `/v1`.
        model: the model's name there; None takes the only one.
        key_variable: the environment variable that holds the API key, if there is one.
    """

    base_url: str
    model: str | None = None
    key_variable: str = "OPENAI_API_KEY"

    def endpoint(self) -> Endpoint:
        """The address with its key."""
        from llava_tuning.inference.openai_client import Endpoint

        key = os.environ.get(self.key_variable, "").strip() or None
        return Endpoint(self.base_url, key, self.key_variable)


def chosen_remote(backend: str, base_url: str | None, model: str | None, key_variable: str) -> Remote | None:
    """What the command line's options say about who runs the model; None for this process.

    Raises:
        UserError: an address without `--backend openai`, or that without an address.
    """
    if backend == "openai":
        if base_url is None:
            raise UserError("--backend openai needs an address; add --base-url http://127.0.0.1:8000/v1")
        return Remote(base_url, model, key_variable)
    if base_url is not None:
        raise UserError("--base-url goes with --backend openai; add that or leave the address out")
    return None


def serve(
    model: str = "default",
    host: str = "127.0.0.1",
    port: int = 7860,
    remote: Remote | None = None,
    folders: Folders | None = None,
    root_path: str = "",
    name: str | None = None,
    load_in: str = "auto",
) -> None:
    """Serve the app until it is interrupted (Ctrl-C).

    Args:
        model: a model directory, or "default"; not looked at where there is a `remote`.
        host, port: where to listen.
        remote: the server that runs the model.
        folders: where runs, models and votes are; the usual places where None.
        root_path: the path below which a proxy serves the app, such as /llava; the proxy takes it off.
        name: what the page calls the model; its directory's name where None.
        load_in: how weights are held, of this model and of others that visitors choose; see `load_backend`.

    Raises:
        UserError: no such model directory, a server that cannot be asked, an address that is not this
            machine's, a port that is taken, credentials in the environment that are in no usable form, or a
            root path that is none.
    """
    from app.protection import Credentials
    from llava_tuning.models.default import DEFAULT_NAME, resolve_model

    check_address(host, port)
    root_path = read_root_path(root_path)
    credentials = Credentials.from_environment()
    if remote is None and model != DEFAULT_NAME:
        resolve_model(model)
    folders = folders or Folders()
    if folders.feedback is not None:
        check_writable(folders.feedback)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service's stop ends it like Ctrl-C
    with tempfile.TemporaryDirectory(prefix="llava-tuning-web-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # nobody's pictures outlive the app
        _run(model, host, port, remote, credentials, folders, root_path, name, load_in)


def _run(
    model: str,
    host: str,
    port: int,
    remote: Remote | None,
    credentials: Credentials,
    folders: Folders,
    root_path: str,
    name: str | None,
    load_in: str,
) -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)

    say("loading the libraries")
    zero_gpu.prepare()
    from app.feedback import Feedback, feedback_directory
    from llava_tuning.inference.backend import load_backend

    votes = Feedback(folders.feedback or feedback_directory())
    say(f"votes on answers go to {votes.directory}")
    load = partial(load_backend, load_in=load_in, say=say)
    backend = _load(model, remote, say, name, load)
    state = "is loaded" if remote is None else "answers"
    say(f"{backend.name} {state}: {'text and pictures' if backend.sees else 'text only'}")
    import uvicorn

    from app.engine import Engine
    from app.models import Shelf
    from app.site import build_site, end_streams
    from llava_tuning.models.default import DEFAULT_NAME

    chinese = remote is not None or backend.name != DEFAULT_NAME
    shelf = Shelf(
        Engine(backend),
        folders.models,
        folders.loaded_models,
        other_models(backend, remote),
        load,
        own_directory=None if remote or model == DEFAULT_NAME else Path(model),
    )
    site = build_site(shelf, credentials, votes, chinese, folders, root_path)
    zero_gpu.report()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            announce(say, host, port, credentials, root_path)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            end_streams(site)
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # cutting answers off is meant
            await super().shutdown(sockets)

    config = uvicorn.Config(
        site, host, port, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_S, server_header=False
    )
    try:
        with contextlib.suppress(KeyboardInterrupt):  # raised anew once everything is closed
            Server(config).run()
    finally:
        shelf.stop()


def _load(
    model: str,
    remote: Remote | None,
    say: Callable[[str], None],
    name: str | None,
    load: Callable[..., ChatBackend],
) -> ChatBackend:
    from llava_tuning.inference.backend import ChatMessage, GenerationSettings

    if remote is not None:
        from llava_tuning.inference.openai_backend import OpenAIBackend

        endpoint = remote.endpoint()
        say(f"asking {endpoint.url}")
        return OpenAIBackend.connect(endpoint, remote.model)
    say(f"loading the model {model}")
    backend = load(model, name=name)
    if zero_gpu.is_here():  # no GPU now, so nothing can be asked before the first visitor
        return zero_gpu.lend(backend)
    # The first answer of all is slower: let no visitor wait for it, and a broken model fail here.
    hello = [ChatMessage("user", "Hello")]
    list(backend.stream(hello, GenerationSettings(max_new_tokens=1, temperature=0)))
    return backend


def other_models(backend: ChatBackend, remote: Remote | None) -> dict[str, Callable[[], ChatBackend]]:
    """What else the server behind the app has, by name; it is asked when someone wants it."""
    if remote is None:
        return {}
    from llava_tuning.inference.openai_backend import OpenAIBackend

    assert isinstance(backend, OpenAIBackend)
    endpoint = remote.endpoint()
    names = (name for name in backend.models() if name != backend.name)
    return {name: partial(OpenAIBackend.connect, endpoint, name) for name in names}
