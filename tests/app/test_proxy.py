"""Behind nginx, below a path, with TLS and a password: the page in a browser, and programs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest
from long_answers import LONG

from llava_tuning.cli import main

if TYPE_CHECKING:  # a folder of tests is no package
    from tests.app.conftest import ChatPage

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "assets" / "samples" / "red_circle.png"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
USER, PASSWORD, KEY = "ada", "a long word", "a-key-for-programs"
_MAIN = "daemon off; pid {folder}/pid;\nevents {{}}\nhttp {{ access_log off;\n{site}}}\n"
_TEMPORARY = "".join(
    f"    {name}_temp_path {{folder}}/{name};\n"
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


@pytest.fixture(scope="module")
def address(start_app, find_free_port, default_model, tmp_path_factory):
    """Where nginx serves the app: the guide's own configuration, on another port and certificate."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("no nginx or openssl on this machine: apt-get install nginx-light openssl")
    secrets = {"LLAVA_TUNING_AUTH": f"{USER}:{PASSWORD}", "LLAVA_TUNING_API_KEY": KEY}
    app = start_app("--root-path", "/llava", **secrets)
    assert f"ready: open /llava at your proxy, which asks 127.0.0.1:{app.port};" in app.output
    folder, port = tmp_path_factory.mktemp("nginx"), find_free_port()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", "-x509", *made], check=True, capture_output=True)
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    [site] = re.findall(r"^```nginx\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;\n{_TEMPORARY.format(folder=folder)}"),
        ("/etc/letsencrypt/live/example.org/fullchain.pem", str(certificate)),
        ("/etc/letsencrypt/live/example.org/privkey.pem", str(key)),
        ("http://127.0.0.1:7860/", f"{app.url}/"),
    ):
        assert old in site
        site = site.replace(old, new)
    configuration = folder / "nginx.conf"
    configuration.write_text(_MAIN.format(folder=folder, site=site), encoding="utf-8")
    nginx = subprocess.Popen([NGINX, "-c", configuration, "-e", folder / "error.log"])
    address = f"https://localhost:{port}/llava"
    try:
        transport = httpx.HTTPTransport(verify=False, retries=8)  # until it listens
        with httpx.Client(transport=transport) as client:
            assert client.get(f"{address}/live").status_code == 200
        yield address
    finally:
        nginx.terminate()
        nginx.wait(20)


@pytest.mark.browser
def test_the_page_answers_about_a_picture_below_a_path(address, browser, chat_page: type[ChatPage]):
    context = browser.new_context(
        ignore_https_errors=True,
        http_credentials={"username": USER, "password": PASSWORD},
        viewport={"width": 1280, "height": 800},
        locale="en-US",
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)  # without its slash, as one types it
    chat = chat_page(page)
    chat.attach(PICTURE)
    chat.ask("What shape is in the image?")
    assert chat.answer() == "circle"
    assert chat.pictures.first.evaluate("image => image.naturalWidth") == 384
    ours = [url for url in requested if not url.startswith(("data:", "blob:"))]
    assert ours and all(url.startswith(address) for url in ours)
    context.close()


def test_programs_are_answered_below_a_path(address):
    with httpx.Client(verify=False) as http:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", http_client=http, max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        client.api_key = KEY
        asked = [{"role": "user", "content": LONG}]
        pieces = client.chat.completions.create(
            model="default", messages=asked, temperature=0, max_tokens=60, stream=True
        )
        basic = httpx.BasicAuth(USER, PASSWORD)
        said = (piece.choices[0].delta.content for piece in pieces if piece.choices)
        assert next(text for text in said if text)
        # The first words are there while the others are still written.
        assert http.get(f"{address}/health", auth=basic).json()["questions"] == 1
        assert len("".join(text or "" for text in said)) > 50
        assert http.get(f"{address}/health", auth=basic).json()["ready"]
        assert http.get(f"{address}/").status_code == 401


@pytest.mark.parametrize("path", ["llava", "/llava//eye", "https://example.org/llava", "/a b"])
def test_what_is_no_root_path_is_refused(path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["llava-tuning", "web", "--root-path", path])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert f"--root-path {path}: not such a path as /llava" in capsys.readouterr().err
