"""What the terminal says once the app can be used, and how to reach it from elsewhere."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.protection import Credentials

EVERYWHERE = ("0.0.0.0", "::")


def announce(
    say: Callable[[str], None], host: str, port: int, credentials: Credentials, root_path: str = ""
) -> None:
    """Print the address, a warning where anybody can use it, and for a remote machine the ssh line.

    Below a proxy's `root_path` the page is whole at the proxy's address alone, so that is what is named.
    """
    shown = "127.0.0.1" if host in EVERYWHERE else host
    if root_path:
        say(f"ready: open {root_path} at your proxy, which asks {shown}:{port}; Ctrl-C ends the app")
    else:
        say(f"ready: open http://{shown}:{port} in a browser; Ctrl-C ends the app")
    if host in EVERYWHERE and not credentials:
        print(
            "Whoever reaches this machine can use the app; LLAVA_TUNING_AUTH=user:password protects it.",
            flush=True,
        )
    if not root_path and (line := ssh_line(os.environ.get("SSH_CONNECTION", ""), shown, port)):
        print(
            f"This machine is remote. On your own computer, run\n    {line}\n"
            f"and open http://127.0.0.1:{port} there. If you log in through a gateway, put its "
            "name and port in.",
            flush=True,
        )


def ssh_line(connection: str, host: str, port: int) -> str | None:
    """The command that brings the app to the computer that one has logged in from.

    Args:
        connection: SSH_CONNECTION, "client-address client-port server-address server-port"; set by sshd(8).
        host, port: where the app listens.

    Returns:
        the command; None where `connection` says that nobody has logged in from elsewhere.
    """
    match connection.split():
        case [_, _, server, ssh_port]:
            target = f"[{host}]" if ":" in host else host
            return f"ssh -CN -L {port}:{target}:{port} {getpass.getuser()}@{server} -p {ssh_port}"
    return None
