"""Starting the app, what it says, and what it refuses."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import openai
import pytest

from llava_tuning.cli import main


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], capture_output=True, text=True, timeout=120
    )


def test_a_taken_port_is_named_with_a_remedy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start("--port", str(port))
    assert done.returncode == 2
    assert (
        done.stderr.strip() == f"app: port {port} is in use; stop the other program or add --port {port + 1}"
    )


def test_a_missing_model_is_named_before_anything_is_loaded(tmp_path):
    code = (
        "import sys; from app.server import serve\n"
        f"try: serve({str(tmp_path / 'none')!r})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print([name for name in ('torch', 'gradio', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    kind, loaded = done.stdout.strip().splitlines()
    assert kind.startswith("UserError") and "none: no such model directory" in kind
    assert loaded == "[]"


@pytest.mark.parametrize(
    "flags",
    [("--port", "99999"), ("--host", "no.such.host.invalid"), ("--feedback", "/dev/null/votes")],
)
def test_an_impossible_address_exits_2(flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["llava-tuning", "web", *flags])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert flags[1] in capsys.readouterr().err


def test_the_terminal_says_what_happens_and_how_to_get_there(app):
    assert "loading the model" in app.output
    assert f"ready: open http://127.0.0.1:{app.port} in a browser" in app.output
    assert f"ssh -CN -L {app.port}:127.0.0.1:{app.port} {getpass.getuser()}@10.0.0.1 -p 22" in app.output
    assert "Warning" not in app.output


def test_a_text_model_says_so_and_stopping_leaves_no_uploads(text_model, free_port, tmp_path):
    app = subprocess.Popen(
        [sys.executable, "-m", "llava_tuning", "web", str(text_model), "--port", str(free_port)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = []
    for line in iter(app.stdout.readline, ""):
        said.append(line)
        if "ready" in line:
            break
    output = "".join(said)
    assert "is loaded: text only" in output and "ready: open" in output and "Warning" not in output
    assert list(tmp_path.glob("llava-tuning-web-*"))
    app.terminate()
    app.wait(30)
    assert not list(tmp_path.glob("llava-tuning-web-*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_does_not_wait_for_open_pages_and_answers(start_app, text_model, how):
    app = start_app("--model", str(text_model), as_a_user=True)
    client = openai.OpenAI(base_url=f"{app.url}/v1", api_key="none", max_retries=0)
    question = [{"role": "user", "content": "Write a long story about a lighthouse keeper."}]
    options = {"messages": question, "max_tokens": 4000, "temperature": 0, "stream": True}
    answer = client.chat.completions.create(model=text_model.name, **options)
    next(answer)
    page = urllib.request.urlopen(f"{app.url}/gradio_api/heartbeat/somebody")  # what an open page holds
    app.process.send_signal(how)
    assert app.process.wait(15) == 0
    page.close()
    client.close()
    said = app.output[app.output.index("ready: open") :]
    assert "Traceback" not in said and "Error" not in said and "ERROR" not in said


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "assets/default/provenance.json"])
def test_no_file_of_the_machine_is_served(app, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{app.url}/gradio_api/file={path}")
    assert refused.value.code in (403, 404)


def test_a_picture_that_was_not_uploaded_is_not_opened(app, tmp_path):
    """A forged event that names a file of the machine as the visitor's picture."""
    from PIL import Image

    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    config = json.load(urllib.request.urlopen(f"{app.url}/config"))
    picture = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "lt-camera")
    taken = next(d for d in config["dependencies"] if [picture, "input"] in d["targets"])
    body = {
        "data": [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}, None],
        "fn_index": taken["id"],
        "session_hash": "forged",
    }
    request = urllib.request.Request(
        f"{app.url}/gradio_api/run/predict", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert "secret.png: not an uploaded file" in refused.value.read().decode()


def test_stopping_while_the_model_is_made_says_nothing_more(find_free_port, tmp_path):
    command = [sys.executable, "-m", "app", "--port", str(find_free_port())]
    environment = {**os.environ, "LLAVA_TUNING_CACHE": str(tmp_path)}
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = iter(process.stdout.readline, "")
    assert any("putting the embedded model together" in line for line in lines)
    process.send_signal(signal.SIGTERM)
    assert "Traceback" not in process.communicate(timeout=60)[0]
    assert process.returncode == 130
