"""`python -m app --host 127.0.0.1 --port 7860 [--model DIR]`"""

from __future__ import annotations

import argparse
import sys

from app.server import serve
from llava_tuning.errors import UserError


def main() -> None:
    """Parse the command line and serve; a UserError becomes one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Chat with a model in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen at (default: 7860)")
    parser.add_argument("--model", default="default", help="model directory (default: the embedded model)")
    arguments = parser.parse_args()
    try:
        serve(arguments.model, arguments.host, arguments.port)
    except UserError as error:
        print(f"app: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
