"""Start the web app: check what can be wrong in a second, load the model, then open the page."""

from __future__ import annotations

import errno
import getpass
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable

from llava_tuning.errors import UserError

MAX_UPLOAD = "20mb"


def serve(model: str = "default", host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the app until it is interrupted (Ctrl-C).

    Raises:
        UserError: no such model directory, an address that is not this machine's, or a port that is taken.
    """
    from llava_tuning.models.default import DEFAULT_NAME, resolve_model

    check_address(host, port)
    if model != DEFAULT_NAME:
        resolve_model(model)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service's stop ends it like Ctrl-C
    with tempfile.TemporaryDirectory(prefix="llava-tuning-web-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # nobody's pictures outlive the app
        _run(model, host, port)


def _run(model: str, host: str, port: int) -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)

    say("loading the libraries")
    import gradio as gr

    from app.engine import Engine
    from app.handlers import Handlers
    from app.strings import translations
    from app.ui import SAMPLES, STYLE, build, theme
    from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend

    say(f"loading the model {model}")
    backend = load_backend(model)
    # The first answer of all is slower: let no visitor wait for it, and a broken model fail here.
    hello = [ChatMessage("user", "Hello")]
    list(backend.stream(hello, GenerationSettings(max_new_tokens=1, temperature=0)))
    say(f"{backend.name} is loaded: {'text and pictures' if backend.sees else 'text only'}")
    text = gr.I18n(**translations(model_speaks_chinese=model != "default"))
    page = build(backend, Handlers(Engine(backend)), text)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        footer_links=["settings"],
        run_history=False,
        max_file_size=MAX_UPLOAD,
        allowed_paths=[str(SAMPLES)],
        i18n=text,
        theme=theme(),
        css_paths=STYLE,
        # Whatever an answer says, the browser asks no other machine for it.
        head='<meta http-equiv="Content-Security-Policy" content="img-src \'self\' data: blob:; '
        "media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:\">",
    )
    _announce(say, host, port)
    page.block_thread()


def check_address(host: str, port: int) -> None:
    """Find out before anything is loaded whether the app can listen there.

    Raises:
        UserError: it cannot; says what to choose instead.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"port {port} does not exist; choose 1024 to 65535, e.g. --port 7860")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        raise UserError(f"port {port} needs administrator's rights; choose one above 1023") from None
    except socket.gaierror:
        raise UserError(
            f"{host}: no such address; use --host 127.0.0.1 (or 0.0.0.0 for the network)"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} is in use; stop the other program or add --port {port + 1}"
            ) from None
        raise UserError(
            f"{host}: not an address of this machine ({error.strerror}); use --host 127.0.0.1"
        ) from None


def _announce(say: Callable[[str], None], host: str, port: int) -> None:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    say(f"ready: open http://{shown}:{port} in a browser; Ctrl-C ends the app")
    if os.environ.get("SSH_CONNECTION"):
        print(
            "This machine is remote. On your own computer, with the HOST and PORT that you log in with, run\n"
            f"    ssh -CNg -L {port}:127.0.0.1:{port} {getpass.getuser()}@HOST -p PORT\n"
            f"and open http://127.0.0.1:{port} there.",
            flush=True,
        )
