"""What is written keeps the rules that the platforms document."""

from __future__ import annotations

import ast
import fnmatch
import re
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from packaging.requirements import Requirement

from llava_tuning.cli import main
from llava_tuning.deployment import folder as deployed_folder
from llava_tuning.deployment.openxlab import write_openxlab
from llava_tuning.deployment.space import write_space

ROOT = Path(__file__).resolve().parents[2]
# https://huggingface.co/docs/hub/spaces-config-reference
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
DOCUMENTED = {
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "pinned"),
    *("license", "short_description", "suggested_hardware", "startup_duration_timeout", "models"),
    *("preload_from_hub",),
}


def card(folder: Path) -> dict:
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert text.strip()
    return yaml.safe_load(front)


def needs(folder: Path) -> dict[str, str]:
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if not line.startswith("--")]
    return {one.name: str(one.specifier) for one in wanted}


@pytest.fixture(scope="module", params=["space", "openxlab"])
def written(request: pytest.FixtureRequest, momo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / request.param
    (write_space if request.param == "space" else write_openxlab)(str(momo), out)
    return out


@pytest.fixture(scope="module")
def space(momo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "space"
    write_space(str(momo), out)
    return out


def test_a_space_is_configured_by_documented_keys_and_values(space):
    given = card(space)
    assert set(given) <= DOCUMENTED
    assert given["sdk"] == "gradio" and f"=={given['sdk_version']}" == needs(space)["gradio"]
    assert {given["colorFrom"], given["colorTo"]} <= COLOURS
    assert (space / given["app_file"]).is_file()
    assert re.fullmatch(r"3\.\d+(\.\d+)?", given["python_version"])
    assert isinstance(given["python_version"], str)  # 3.10 unquoted would be read as 3.1
    assert re.fullmatch(r"\d+[mh]", given["startup_duration_timeout"])
    assert len(given["short_description"]) <= 60
    assert given["suggested_hardware"] == "cpu-basic" and given["license"] == "other"
    assert "momo" in given["title"] and "preload_from_hub" not in given


def test_a_model_of_the_hub_is_named_and_loaded_when_the_space_is_built(tmp_path):
    write_space("ada/llava-momo", tmp_path / "out", "t4-small", "Momo", "apache-2.0")
    given = card(tmp_path / "out")
    assert given["models"] == given["preload_from_hub"] == ["ada/llava-momo"]
    assert (given["title"], given["license"]) == ("Momo", "apache-2.0")
    assert not (tmp_path / "out" / "model").exists()
    assert 'main("ada/llava-momo", "hub")' in (tmp_path / "out" / "app.py").read_text()


def test_zero_gpu_gets_versions_that_it_supports(momo, tmp_path):
    write_space(str(momo), tmp_path / "out", "zerogpu")
    given, wanted = card(tmp_path / "out"), needs(tmp_path / "out")
    assert given["suggested_hardware"] == "zero-a10g"
    # https://huggingface.co/docs/hub/spaces-zerogpu
    assert given["python_version"] in ("3.10.13", "3.12.12")
    assert wanted["torch"] in ("==2.8.0", "==2.9.1", "==2.10.0", "==2.11.0") and "spaces" in wanted
    assert "whl/cpu" not in (tmp_path / "out" / "requirements.txt").read_text()


def test_the_requirements_are_the_projects(written):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    project = {one.name: str(one.specifier) for one in wanted}
    card = {} if written.name == "space" else {"bitsandbytes": bitsandbytes()}  # this Space has none
    assert needs(written) == project | card
    # OpenXLab's mirror of PyPI is near; PyTorch's own index may not be reached from there.
    assert ("whl/cpu" in (written / "requirements.txt").read_text()) == (written.name == "space")


def bitsandbytes() -> str:
    lines = (ROOT / "requirements-train.txt").read_text(encoding="utf-8").splitlines()
    return next(str(Requirement(line).specifier) for line in lines if line.startswith("bitsandbytes"))


def test_visitors_of_a_text_model_are_not_promised_eyes(momo, tmp_path):
    blind = tmp_path / "blind"
    shutil.copytree(momo, blind)
    (blind / "config.json").write_text('{"model_type": "llama"}')
    for write, name in ((write_space, "space"), (write_openxlab, "openxlab")):
        for model, sees in ((momo, True), (blind, False)):
            write(str(model), tmp_path / name, replace=True)
            text = (tmp_path / name / "README.md").read_text(encoding="utf-8")
            assert [word in text for word in ("Ask about pictures", "图片")] == [sees, sees]
            assert ("can see" in text) == (sees and name == "space")


def test_debian_packages_are_one_a_line(written):
    packages = (written / "packages.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", line) for line in packages)
    assert ("git-lfs" in packages) == (written.name == "openxlab")


def test_the_model_comes_without_what_lies_beside_it(written):
    assert {file.name for file in (written / "model" / "momo").iterdir()} == {
        *("config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json"),
        *("provenance.json", "chat_template.jinja", "model.safetensors"),
    }


def test_whatever_is_large_or_binary_goes_through_lfs(written, list_files):
    patterns = [line.split()[0] for line in (written / ".gitattributes").read_text().splitlines()]
    for file in list_files(written):
        binary = b"\0" in file.read_bytes()[:8000]
        if binary or file.stat().st_size > 10_000_000:
            assert any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns), file
    assert "tokenizer.json" in patterns


def test_app_and_packages_are_whole_and_nothing_else(written, list_files):
    for package in ("app", "llava_tuning"):
        source = {
            str(file.relative_to(ROOT)) for file in (ROOT / package).rglob("*.*") if file.suffix != ".pyc"
        }
        there = {str(file.relative_to(written / "src")) for file in list_files(written / "src" / package)}
        assert there == {name for name in source if (ROOT / name).is_file()}
    assert (written / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    compile((written / "app.py").read_text(), "app.py", "exec")
    assert written.stat().st_mode & 0o777 == 0o755  # the platform's user reads it


def test_no_key_and_no_path_of_this_machine_is_written(written, list_files):
    for file in list_files(written):
        text = file.read_bytes()
        assert b"canary" not in text, file
        assert str(ROOT).encode() not in text and b"/tmp/" not in text, file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["space", "no/such/model"], "no/such/model: no such model directory"),
        (["space", "tests/no-model"], "tests/no-model: no such model directory"),  # mistyped, not a hub id
        (["space", "models/no-model"], "models/no-model: no such model directory"),
        (
            ["space", "ada/momo", "--hardware", "t5-huge"],
            "--hardware t5-huge: unknown; choose zerogpu, cpu-basic",
        ),
        (["space", "ada/mo--mo"], "ada/mo--mo: not a valid hub id"),
        (["space", "ada/momo", "--license", "My own"], "--license My own: not an identifier"),
        (["space", "ada/momo", "--push", "momo"], "--push momo: not the name of a Space; give owner/name"),
        (["openxlab", "tests"], "tests: holds no config.json"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["llava-tuning", "deploy", *words, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_earlier_app_is_replaced_on_demand_and_its_git_stays(momo, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    write_space(str(momo), out)
    (out / ".git").mkdir()
    (out / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (out / "src" / "old.py").write_text("")
    monkeypatch.setattr(sys, "argv", ["llava-tuning", "deploy", "space", str(momo), "--out", str(out)])
    with pytest.raises(SystemExit):
        main()
    assert "holds an earlier app; add --replace" in capsys.readouterr().err
    write_space(str(momo), out, replace=True)
    assert (out / ".git" / "HEAD").is_file() and not (out / "src" / "old.py").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_models_name_is_no_code(momo, tmp_path):
    named = tmp_path / 'a"b'
    shutil.copytree(momo, named)
    write_space(str(named), tmp_path / "out")
    tree = ast.parse((tmp_path / "out" / "app.py").read_text(encoding="utf-8"))
    assert 'a"b' in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def test_a_damaged_model_is_not_deployed(momo, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(momo, damaged)
    weights = next(damaged.glob("*.safetensors"))
    weights.unlink()
    weights.write_bytes(b"cut off")
    with pytest.raises(deployed_folder.UserError, match="not readable as safetensors"):
        write_space(str(damaged), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told(momo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(deployed_folder.UserError, match="cannot be made here"):
        write_space(str(momo), tmp_path / "file" / "out")


def test_a_folder_of_something_else_is_never_replaced(momo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "app.py").write_text("print('mine')")
    with pytest.raises(deployed_folder.UserError, match="holds something else"):
        write_space(str(momo), tmp_path / "out", replace=True)
    assert (tmp_path / "out" / "app.py").read_text() == "print('mine')"


def test_a_full_disk_leaves_the_earlier_app(momo, tmp_path, monkeypatch):
    write_space(str(momo), tmp_path / "out")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(deployed_folder.shutil, "copyfile", full)
    with pytest.raises(OSError):
        write_space(str(momo), tmp_path / "out", replace=True)
    assert (tmp_path / "out" / "app.py").is_file()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_every_hardware_of_the_hub_can_be_chosen(tmp_path):
    for flavour in huggingface_hub.SpaceHardware:
        write_space("ada/momo", tmp_path / "out", flavour.value, replace=True)
        cpu = "whl/cpu" in (tmp_path / "out" / "requirements.txt").read_text()
        assert cpu == flavour.value.startswith("cpu")
        own_card = not cpu and flavour.value != "zero-a10g"  # there 8 and 4 bits must be possible
        assert needs(tmp_path / "out").get("bitsandbytes") == (bitsandbytes() if own_card else None)
