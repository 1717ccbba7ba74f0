"""The page's endpoints for programs, called with gradio_client as docs/api.md tells, and what they refuse."""

from __future__ import annotations

import http.client
import json
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from long_answers import LONG

ROOT = Path(__file__).parents[2]
CIRCLE = str(ROOT / "assets" / "samples" / "red_circle.png")
GREEDY = {"temperature": 0, "api_name": "/chat"}


@pytest.fixture(scope="module")
def client(app, tmp_path_factory):
    return Client(app.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def test_the_endpoints_are_those_of_the_document(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    documented = re.findall(r'api_name="(/\w+)"', (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    assert set(named) == set(documented) == {"/chat", "/model"}
    described = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for parameter in named["/chat"]["parameters"]:
        assert f"`{parameter['parameter_name']}`" in described
    assert client.predict(api_name="/model") == {"name": "default", "sees": True}


@pytest.mark.parametrize(
    ("number", "printed"), [(0, ["circle"]), (1, ["{'name': 'default', 'sees': True}", "red"])]
)
def test_the_documents_programs_run(app, number, printed, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number]
    exec(program.replace("http://127.0.0.1:7860", app.url), {})
    assert capsys.readouterr().out.splitlines()[-len(printed) :] == printed


def test_a_conversation_of_several_turns_about_a_picture(client):
    shape = client.predict("What shape is in the image?", [handle_file(CIRCLE)], **GREEDY)
    assert shape == "circle"
    history = [
        {"role": "user", "content": ["What shape is in the image?", handle_file(CIRCLE)]},
        {"role": "assistant", "content": shape},
    ]
    colour = client.predict("What color is the shape?", history=history, **GREEDY)
    assert colour == "red"
    history += [
        {"role": "user", "content": "What color is the shape?"},
        {"role": "assistant", "content": colour},
    ]
    assert client.predict("Is there a circle?", history=history, **GREEDY) == "yes"


@pytest.mark.parametrize(
    "told",
    [
        [{"role": "user", "content": {"text": "What is it?", "files": [handle_file(CIRCLE)]}}],
        [
            {"role": "user", "content": handle_file(CIRCLE)},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}]},
        ],
        [
            {"role": "user", "content": [{"type": "file", "file": handle_file(CIRCLE)}], "metadata": None},
            {"role": "user", "content": "What is it?", "options": None},
        ],
    ],
    ids=["as the box gives it", "as the chatbot shows it", "as the chatbot hands it on"],
)
def test_history_is_read_in_each_form_that_gradio_has_for_it(client, told):
    history = [*told, {"role": "assistant", "content": [{"type": "text", "text": "a shape"}]}]
    assert client.predict("What color is the shape?", history=history, **GREEDY) == "red"


def test_the_answer_grows(client):
    job = client.submit("Write a long story about a lighthouse.", max_new_tokens=20, **GREEDY)
    *_, before, last = list(job)
    assert last.startswith(before) and len(last) > len(before)


def test_a_cancelled_call_stops_the_model(client, app):
    job = client.submit(LONG, max_new_tokens=4000, **GREEDY)
    next(iter(job))
    job.cancel()
    assert "Paris" in client.predict("What is the capital of France?", **GREEDY)  # its turn came
    assert json.load(urllib.request.urlopen(f"{app.url}/health"))["questions"] == 0


def test_what_is_wrong_is_said(client):
    with pytest.raises(AppError, match="temperature is 3"):
        client.predict("Hello", temperature=3, api_name="/chat")
    with pytest.raises(AppError, match="max_new_tokens, temperature, top_p and seed are numbers"):
        client.predict("Hello", max_new_tokens=None, api_name="/chat")
    with pytest.raises(AppError, match=r"messages\[0\] has no role"):
        client.predict("Hello", history=[{"content": "x"}], api_name="/chat")
    with pytest.raises(AppError, match="not a picture in PNG"):
        client.predict("Hello", [handle_file(str(ROOT / "README.md"))], api_name="/chat")


def call_chat(app, picture: dict) -> str:
    """What the endpoint says to a call that was not made by gradio_client, which uploads first."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    as_json = {"Content-Type": "application/json"}
    data = json.dumps({"data": ["What is it?", [picture], [], "", 8, 0, 1, None]})
    connection.request("POST", "/gradio_api/call/chat", data, as_json)
    event = json.load(connection.getresponse())["event_id"]
    connection.request("GET", f"/gradio_api/call/chat/{event}")
    said = connection.getresponse().read().decode()
    connection.close()
    return said


@pytest.fixture
def stranger():
    """A web server of somebody else, which remembers that it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


META = {"_type": "gradio.FileData"}


@pytest.mark.parametrize("meta", [META, None, {}], ids=["marked", "unmarked", "marked as nothing"])
@pytest.mark.parametrize(
    "path", [CIRCLE, "/etc/passwd", "../../etc/passwd", "assets/samples/red_circle.png", "no\0path"]
)
def test_a_file_of_the_machine_is_no_input(app, path, meta):
    picture = {"path": path} | ({} if meta is None else {"meta": meta})
    said = call_chat(app, picture)
    assert "event: error" in said and "not an uploaded file" in said
    assert "circle" not in said.replace(Path(path).name, "")


def test_an_address_is_no_input(app, stranger):
    address, asked = stranger
    for url in (f"{address}/x.png", "https://example.com/x.png", f"file://{CIRCLE}"):
        said = call_chat(app, {"path": url, "meta": META})
        assert "event: error" in said and "not an uploaded file" in said
    said = call_chat(app, {"type": "image_url", "image_url": {"url": f"{address}/x.png"}})
    assert "event: error" in said and "addresses only" in said
    assert asked == []


def test_an_uploaded_picture_is_an_input(app, client):
    """The forged calls above fail for their paths, not for their form."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port)
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n%b\r\n--x--\r\n'
    connection.request(
        "POST",
        "/gradio_api/upload",
        body % Path(CIRCLE).read_bytes(),
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    (path,) = json.load(connection.getresponse())
    assert "event: complete" in call_chat(app, {"path": path, "meta": META})
    assert "event: complete" in call_chat(app, {"path": path})


@pytest.mark.parametrize("kind", ["file=", "proxy=", "file/"])
def test_the_app_fetches_no_address(app, stranger, kind):
    address, asked = stranger
    for url in (f"{address}/x.png", "http://example.com/x.png", "http%3A//example.com/x.png"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{app.url}/gradio_api/{kind}{url}")
        assert refused.value.code == 403
        assert refused.value.read() == b"Addresses are not fetched.\n"  # Gradio's 403 comes after asking
    assert asked == []
