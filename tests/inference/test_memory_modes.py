"""What `--load-in` makes of a machine, and that each mode answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from llava_tuning import cli
from llava_tuning.errors import UserError
from llava_tuning.inference import loading, machine, memory_modes
from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.inference.int8 import Int8Linear
from llava_tuning.inference.loading import choose_for, load_model
from llava_tuning.inference.machine import GIB, Gpu, Machine, find_machine
from llava_tuning.inference.memory_modes import choose, needed_bytes
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.sizes import Sizes, sizes_of

# InternLM2-7B with CLIP ViT-L/14: 6.5 billion parameters in layers, 1.1 elsewhere
SEVEN = Sizes(layers=6_500_000_000, rest=1_100_000_000, values_per_token=65_536)
LAPTOP = Machine("a CPU", 8, 16 * GIB, 14 * GIB, bfloat16=False, int8=True)
SERVER = Machine("a CPU", 16, 128 * GIB, 100 * GIB, bfloat16=True, int8=True)
PICTURE = Path(__file__).resolve().parents[2] / "assets" / "samples" / "red_circle.png"
SEE = [ChatMessage("user", "What color is the shape?", (open_picture(PICTURE),))]
FRANCE = [ChatMessage("user", "What is the capital of France?")]
HOT = [ChatMessage("user", "What is the opposite of hot?")]
NEEDS_VNNI = pytest.mark.skipif(not find_machine().int8, reason="this CPU has no VNNI")


def card(free_gib: float, bfloat16: bool = True) -> Gpu:
    return Gpu(0, "a card", 80 * GIB, int(free_gib * GIB), bfloat16)


@pytest.mark.parametrize(
    ("here", "mode", "device"),
    [
        (SERVER, "bfloat16", "cpu"),
        (LAPTOP, "int8", "cpu"),  # float32 does not fit
        (replace(LAPTOP, int8=False), "4bit", "cpu"),
        (replace(SERVER, bfloat16=False), "float32", "cpu"),
        (replace(SERVER, gpus=(card(24),)), "bfloat16", "cuda"),
        (replace(SERVER, gpus=(card(24, bfloat16=False),)), "float16", "cuda"),
        (replace(SERVER, gpus=(card(12),)), "8bit", "cuda"),
        (replace(SERVER, gpus=(card(9),)), "4bit", "cuda"),
        (replace(SERVER, gpus=(card(2),)), "bfloat16", "cpu"),  # in no mode on the card
        (replace(SERVER, gpus=(Gpu(0, "lent", 0, 0, True),)), "bfloat16", "cuda"),  # memory unknown
    ],
)
def test_auto_takes_the_most_exact_that_fits_and_says_so(here: Machine, mode: str, device: str) -> None:
    choice = choose("auto", "auto", SEVEN, here)
    assert (choice.mode, choice.device) == (mode, device)
    assert f"loads in {mode} on {'the CPU' if device == 'cpu' else here.gpus[0].name}" in choice.line


def test_auto_needs_no_bitsandbytes_where_something_else_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_modes, "find_spec", lambda name: None)
    assert choose("auto", "auto", SEVEN, LAPTOP).mode == "int8"
    with pytest.raises(UserError, match="for 4bit run `pip install bitsandbytes"):
        choose("auto", "auto", SEVEN, replace(LAPTOP, int8=False))


@pytest.mark.parametrize(
    ("load_in", "device", "here", "remedy"),
    [
        ("8bit", "auto", LAPTOP, "choose int8"),
        ("float16", "cpu", SERVER, "choose bfloat16 or float32"),
        ("int8", "cpu", replace(LAPTOP, int8=False), "no VNNI.*choose float32 or 4bit"),
        ("int8", "auto", replace(SERVER, gpus=(card(24),)), "choose 8bit, or add --device cpu"),
        ("bfloat16", "cuda", replace(SERVER, gpus=(card(24, False),)), "a card.*choose float16"),
        ("auto", "auto", replace(LAPTOP, free=2 * GIB), "4bit, 2.0 GiB free.*close other programs"),
        ("int3", "cpu", LAPTOP, "choose auto, 4bit"),
        ("auto", "cuda:1", replace(SERVER, gpus=(card(24),)), "has 1 GPUs"),
    ],
)
def test_what_cannot_be_is_told_with_the_remedy(
    load_in: str, device: str, here: Machine, remedy: str
) -> None:
    with pytest.raises(UserError, match=remedy):
        choose(load_in, device, SEVEN, here)


def test_a_mode_that_is_asked_for_is_tried_though_it_may_not_fit() -> None:
    choice = choose("float32", "cpu", SEVEN, LAPTOP)
    assert choice.mode == "float32" and "may not fit" in choice.line


def test_quantising_takes_less_the_fewer_the_bits() -> None:
    order = ("float32", "bfloat16", "int8", "4bit")
    needed = [needed_bytes(mode, None, SEVEN, SERVER) for mode in order]  # type: ignore[arg-type]
    assert needed == sorted(needed, reverse=True)


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1500000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000000\n")
    monkeypatch.setattr(machine, "_control_groups", lambda: [tmp_path, tmp_path / "none"])
    found = find_machine()
    assert found.total == 3_000_000_000 and found.free == 2_000_000_000


def test_sizes_are_those_of_the_loaded_model(default_model: Path) -> None:
    sizes = sizes_of(default_model)
    model = load_model(default_model, "cpu", "bfloat16").model
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    layers = model.get_decoder().layers  # type: ignore[operator]
    assert sizes.layers == sum(m.weight.numel() for m in layers.modules() if isinstance(m, torch.nn.Linear))


@NEEDS_VNNI
def test_int8_products_are_close_and_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(192, 64)
    x = torch.randn(3, 5, 192)
    x[1] *= 100  # one scale for all tokens would round the others away
    int8 = Int8Linear(linear)
    found, right = int8(x), linear(x)
    assert (found - right).norm() < 0.02 * right.norm()
    assert (found[0] - right[0]).norm() < 0.02 * right[0].norm()
    torch.testing.assert_close(int8(x[:1]), found[:1], rtol=0, atol=1e-5)
    assert int8(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["float32", pytest.param("int8", marks=NEEDS_VNNI), "4bit"])
def test_the_embedded_model_sees_and_knows_in_each_mode(default_model: Path, mode: str) -> None:
    told: list[str] = []
    backend = load_backend("default", "cpu", mode, say=told.append)
    assert len(told) == 1 and f"loads in {mode} on the CPU" in told[0]
    # In 4 bits a model this small no longer knows the capital.
    ask, right = (HOT, "cold") if mode == "4bit" else (FRANCE, "Paris")
    seen, known = backend.answer_batch([SEE, ask], GenerationSettings(max_new_tokens=8, temperature=0))
    assert seen.lower() == "red" and right in known
    model = backend._forward.model  # type: ignore[attr-defined]
    kinds = {
        name: type(part).__name__ for name, part in model.named_modules() if hasattr(part, "in_features")
    }
    quantised = {"int8": "Int8Linear", "4bit": "Linear4bit"}.get(mode, "Linear")
    for name, kind in kinds.items():
        whole = any(part in name for part in memory_modes.KEPT_WHOLE)
        assert kind == ("Linear" if whole else quantised), name


def test_the_command_tells_what_it_chose_and_refuses_what_cannot_be(default_model: Path) -> None:
    words = ["chat", "--load-in", "float32", "--device", "cpu", "--max-new-tokens", "8", "--temperature", "0"]
    done = CliRunner().invoke(cli._build(), words, input=f"{FRANCE[0].text}\n")
    assert done.exit_code == 0 and "loads in float32 on the CPU" in done.stderr
    assert "Paris" in done.stdout and "loads in" not in done.stdout
    refused = CliRunner().invoke(cli._build(), ["chat", "--load-in", "8bit", "--device", "cpu"], input="")
    assert isinstance(refused.exception, UserError) and "choose int8" in str(refused.exception)


def test_the_app_hands_the_mode_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from app import __main__ as app
    from app import server

    served: list[dict[str, object]] = []
    monkeypatch.setattr(app, "serve", lambda *given, **named: served.append(named))
    monkeypatch.setattr(server, "serve", lambda *given, **named: served.append(named))
    monkeypatch.setattr("sys.argv", ["app", "--load-in", "4bit"])
    app.main()
    done = CliRunner().invoke(cli._build(), ["web", "--load-in", "int8"])
    assert done.exit_code == 0, done.output
    assert [named["load_in"] for named in served] == ["4bit", "int8"]


def test_a_broken_bitsandbytes_is_not_taken_for_a_damaged_model(
    text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loading.importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name == "bitsandbytes":
            raise RuntimeError("CUDA Setup failed")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    monkeypatch.setattr(loading.importlib, "import_module", broken)
    with pytest.raises(UserError, match=r"bitsandbytes cannot be loaded \(CUDA Setup failed\); install it"):
        load_model(text_model, "cpu", "4bit")


def test_answers_are_not_continued_in_another_mode(
    text_model: Path, blind_llava: Path, tmp_path: Path
) -> None:
    """What `auto` takes depends on the memory that is free just then."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    words = ["vqa", str(blind_llava), "--images", str(tmp_path), "--question", "What is it?"]
    words += ["--device", "cpu", "--max-new-tokens", "4", "--out", str(tmp_path / "out.jsonl")]
    for mode in ("auto", choose_for(blind_llava, "cpu", "auto").mode):
        done = CliRunner().invoke(cli._build(), [*words, "--load-in", mode])
        assert done.exit_code == 0, done.output
    other = "4bit" if mode == "float32" else "float32"  # which every CPU computes in
    refused = CliRunner().invoke(cli._build(), [*words, "--load-in", other])
    assert isinstance(refused.exception, UserError)
    assert f"load_in {mode}, now {other}" in str(refused.exception)


def test_the_app_loads_its_own_model_and_others_as_it_was_told(
    start_app: Callable[..., Any], text_model: Path, blind_llava: Path, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "other").symlink_to(text_model)
    app = start_app("--model", str(blind_llava), "--models", str(tmp_path / "models"), "--load-in", "float32")
    body = {"model": "other", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{app.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert app.output.count("loads in float32 on the CPU (as asked for)") == 2
