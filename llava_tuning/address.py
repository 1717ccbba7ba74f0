"""Whether a program can listen at an address."""

from __future__ import annotations

import errno
import socket

from llava_tuning.errors import UserError


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
