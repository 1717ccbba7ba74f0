"""`python -m app --host 127.0.0.1 --port 7860 [--model DIR] [--backend openai --base-url URL]`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.folders import chosen_folders
from app.server import chosen_remote, serve
from llava_tuning.errors import UserError
from llava_tuning.load_in import LOAD_IN, LOAD_IN_HELP

_ENVIRONMENT = """\
environment variables:
  LLAVA_TUNING_AUTH     user:password that the page and every other address ask for
  LLAVA_TUNING_API_KEY  key that is taken as well, as OpenAI's clients send it
"""


def main() -> None:
    """Parse the command line and serve; a UserError becomes one sentence and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Chat with a model in the browser, and serve it to programs.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen at (default: 7860)")
    parser.add_argument(
        "--model",
        help="model directory (default: the embedded model), or with --backend openai the model's name there",
    )
    parser.add_argument(
        "--backend",
        choices=("transformers", "openai"),
        default="transformers",
        help="who runs the model: this process, or a server such as vLLM at --base-url",
    )
    parser.add_argument("--base-url", help="that server's address, e.g. http://127.0.0.1:8000/v1")
    parser.add_argument(
        "--api-key-variable",
        default="OPENAI_API_KEY",
        help="environment variable that holds that server's API key, if it wants one "
        "(default: OPENAI_API_KEY)",
    )
    parser.add_argument("--load-in", choices=LOAD_IN, default="auto", help=LOAD_IN_HELP)
    parser.add_argument(
        "--runs", type=Path, help="folder of training runs to watch (default: work_dirs, where it exists)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of training pictures that the page of runs may show (default: data, where it exists)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        help="folder of model directories to choose from (default: models, where it exists)",
    )
    parser.add_argument(
        "--loaded-models",
        type=int,
        default=2,
        help="models kept in memory at once, besides the app's own (default: 2)",
    )
    parser.add_argument(
        "--feedback",
        type=Path,
        metavar="DIR",
        help="directory for the votes on answers (default: ~/.local/share/llava-tuning/feedback)",
    )
    parser.add_argument(
        "--root-path", default="", help="path below which a proxy serves the app, e.g. /llava"
    )
    given = parser.parse_args()
    try:
        remote = chosen_remote(given.backend, given.base_url, given.model, given.api_key_variable)
        folders = chosen_folders(given.runs, given.models, given.feedback, given.loaded_models, given.data)
        model = given.model or "default"
        serve(model, given.host, given.port, remote, folders, given.root_path, load_in=given.load_in)
    except UserError as error:
        print(f"app: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # while the model was loaded; later, the server ends by itself
        sys.exit(130)


if __name__ == "__main__":
    main()
