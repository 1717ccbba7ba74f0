"""InternLM2 in every form that checkpoints come in → the same Llama model, to the bit."""

from __future__ import annotations

import json
import shutil
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, ShardWriter
from llava_tuning.models.internlm2 import llama_config
from llava_tuning.models.prepare import prepare
from llava_tuning.models.provenance import hash_file, read_provenance

State = dict[str, torch.Tensor]
SIDE_FILES = ("config.json", "tokenizer.model", "tokenizer_config.json")


def save_safetensors(state: State, directory: Path) -> None:
    save_file(state, directory / "model.safetensors")


def save_bin(state: State, directory: Path) -> None:
    torch.save(state, directory / "pytorch_model.bin")


def _save_shards(state: State, directory: Path, stem: str, save: Callable[[State, Path], None]) -> None:
    """Three shards, cut where a layer's parts fall into two of them."""
    names = sorted(state)
    cuts = [names[:7], names[7:18], names[18:]]
    weight_map = {}
    for number, part in enumerate(cuts, 1):
        name, suffix = stem.split(".")
        file = f"{name}-{number:05d}-of-00003.{suffix}"
        save({key: state[key] for key in part}, directory / file)
        weight_map.update(dict.fromkeys(part, file))
    (directory / f"{stem}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def save_sharded_safetensors(state: State, directory: Path) -> None:
    _save_shards(state, directory, "model.safetensors", save_file)


def save_sharded_bin(state: State, directory: Path) -> None:
    _save_shards(state, directory, "pytorch_model.bin", torch.save)


@pytest.fixture
def variant(tiny_chat: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a changed copy of `tiny_chat`."""

    def make(
        save: Callable[[State, Path], None] = save_safetensors,
        change: Callable[[State], None] = lambda state: None,
        **config: object,
    ) -> Path:
        directory = tmp_path / "variant"
        directory.mkdir()
        for name in SIDE_FILES:
            shutil.copyfile(tiny_chat / name, directory / name)
        settings = json.loads((directory / "config.json").read_text()) | config
        (directory / "config.json").write_text(json.dumps(settings))
        state = load_file(tiny_chat / "model.safetensors")
        change(state)
        save(state, directory)
        return directory

    return make


def weights(directory: Path) -> State:
    return dict(Checkpoint(directory))


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_logits_are_the_references(tiny_llama: Path, reference: Path) -> None:
    model, info = AutoModelForCausalLM.from_pretrained(
        tiny_llama, dtype=torch.float32, output_loading_info=True
    )
    assert type(model) is LlamaForCausalLM
    assert not info["missing_keys"] and not info["unexpected_keys"]
    expected = np.load(reference / "tiny_chat" / "expected_logits.npz")
    with torch.no_grad():
        logits = model(torch.tensor(expected["input_ids"])).logits.numpy()
    assert np.abs(logits[:, :, expected["columns"]] - expected["logits"]).max() < 1e-3
    assert (logits.argmax(-1) == expected["argmax"]).all()


def test_bfloat16_and_settings_are_kept(tiny_llama: Path) -> None:
    assert {tensor.dtype for tensor in weights(tiny_llama).values()} == {torch.bfloat16}
    config = json.loads((tiny_llama / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 1e6
    assert config["rope_parameters"]["rope_type"] == "default"
    assert json.loads((tiny_llama / "generation_config.json").read_text())["eos_token_id"] == [2, 92542]
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tiny_llama / name).read_text())
    assert not list(tiny_llama.glob("*.py"))


def test_provenance_has_the_sources_hashes(tiny_llama: Path, tiny_chat: Path) -> None:
    provenance = read_provenance(tiny_llama)
    assert provenance is not None
    hashes = provenance.base_models[0].hashes
    assert hashes["model.safetensors"] == hash_file(tiny_chat / "model.safetensors")


@pytest.mark.parametrize("save", [save_bin, save_sharded_safetensors, save_sharded_bin])
def test_every_form_gives_the_same_model(
    save: Callable[[State, Path], None], variant: Callable[..., Path], tiny_llama: Path, tmp_path: Path
) -> None:
    out = prepare(str(variant(save)), tmp_path / "out", max_shard_gb=0.003)
    assert (out / "model.safetensors.index.json").is_file()
    assert_same(weights(out), weights(tiny_llama))
    model, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(model.lm_head.weight, weights(tiny_llama)["lm_head.weight"])


def test_a_saved_rotary_buffer_is_left_out(
    variant: Callable[..., Path], tiny_llama: Path, tmp_path: Path
) -> None:
    def add(state: State) -> None:
        state["model.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(4)

    assert_same(weights(prepare(str(variant(change=add)), tmp_path / "out")), weights(tiny_llama))


def test_a_llama_directory_passes_through(tiny_llama: Path, tmp_path: Path) -> None:
    out = prepare(str(tiny_llama), tmp_path / "again")
    assert_same(weights(out), weights(tiny_llama))
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_text() == (tiny_llama / name).read_text()


def test_a_llama_directory_without_a_template_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"):
        prepare(str(tmp_path / "base"), tmp_path / "out")


WRONG: list[tuple[Callable[[State], object], str]] = [
    (lambda s: s.pop("model.layers.1.attention.wo.weight"), r"missing keys model\.layers\.1\.attention\.wo"),
    (lambda s: s.update({"v_head.weight": torch.ones(1)}), r"unknown keys v_head\.weight"),
    (
        lambda s: s.update({"model.norm.weight": torch.ones(31)}),
        r"model\.norm\.weight has shape \(31,\), but by config\.json it has \(32,\)",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_weights_are_named_and_nothing_is_left(
    change: Callable[[State], None], message: str, variant: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(str(variant(change=change)), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["variant"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_key_value_heads": 3}, "3 key/value heads do not divide 4 query heads"),
        ({"num_attention_heads": 5}, "5 heads do not divide hidden size 32"),
        ({"hidden_size": "32"}, "'32' is no size"),
        ({"bias": True}, "biases cannot be prepared"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_scaling .* is not one of"),
        ({"model_type": "gpt2"}, "is a gpt2 model"),
        ({"num_hidden_layers": 4}, r"missing keys model\.layers\.3\."),
        ({"num_hidden_layers": 2}, r"unknown keys model\.layers\.2\."),
    ],
)
def test_wrong_settings_are_named(
    config: dict, message: str, variant: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(str(variant(**config)), tmp_path / "out")


def test_longer_contexts_keep_their_scaling(tiny_chat: Path) -> None:
    config = json.loads((tiny_chat / "config.json").read_text())
    config["rope_scaling"] = {"type": "dynamic", "factor": 2.0}
    rope = llama_config(config, torch.bfloat16).rope_parameters
    assert rope["rope_type"] == "dynamic" and rope["factor"] == 2.0 and rope["rope_theta"] == 1e6


def test_a_missing_shard_is_named(variant: Callable[..., Path], tmp_path: Path) -> None:
    directory = variant(save_sharded_safetensors)
    (directory / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"shards model-00002-of-00003\.safetensors are missing"):
        prepare(str(directory), tmp_path / "out")


class Code:
    def __reduce__(self) -> tuple:
        return (Path("pwned").touch, ())


def test_a_pickle_with_code_is_refused_and_not_run(
    variant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = variant(lambda state, out: torch.save({"x": Code()}, out / "pytorch_model.bin"))
    with pytest.raises(UserError, match="not readable as weights alone"):
        prepare(str(directory), tmp_path / "out")
    assert not (tmp_path / "pwned").exists()


def test_truncated_weights_are_named(variant: Callable[..., Path], tmp_path: Path) -> None:
    for save, name in ((save_safetensors, "model.safetensors"), (save_bin, "pytorch_model.bin")):
        directory = variant(save)
        with (directory / name).open("r+b") as file:
            file.truncate(1_000_000)
        with pytest.raises(UserError, match=f"{name}: not readable"):
            prepare(str(directory), tmp_path / "out")
        shutil.rmtree(directory)


def test_wrong_sources_and_places_are_named(tiny_chat: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        prepare("./nowhere/at/all", tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        prepare(str(tiny_chat), tmp_path / "taken")
    with pytest.raises(UserError, match="above 0"):
        prepare(str(tiny_chat), tmp_path / "out", max_shard_gb=0)
    with pytest.raises(UserError, match=r"no config\.json"):
        prepare(str(tmp_path / "taken"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_memory_is_bounded_by_the_shards(kind: str, tmp_path: Path) -> None:
    """While a checkpoint is copied, alive are the tensors of one output shard and the current one."""
    size = 4 * 1000
    shards = [{f"{shard}.{i}": torch.full((1000,), float(i)) for i in range(10)} for shard in range(6)]
    stem = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    weight_map = {}
    for number, shard in enumerate(shards):
        file = f"part-{number}.{kind}"
        (save_file if kind == "safetensors" else torch.save)(shard, tmp_path / file)
        weight_map.update(dict.fromkeys(shard, file))
    (tmp_path / f"{stem}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    out = tmp_path / "out"
    out.mkdir()
    writer = ShardWriter(out, 5 * size)
    alive: list[weakref.ref] = []
    most = 0
    checkpoint = Checkpoint(tmp_path)
    for name, tensor in checkpoint:
        alive = [ref for ref in alive if ref() is not None] + [weakref.ref(tensor)]
        most = max(most, len(alive))
        writer.add(name, tensor)
    writer.close()
    # safetensors: five pending and the current one. A .bin shard (mapped, not read) is ten tensors more.
    assert most <= (7 if kind == "safetensors" else 17)
    assert len(list(out.glob("*.safetensors"))) == 12
    assert_same(weights(out), {name: tensor for shard in shards for name, tensor in shard.items()})


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    writer = ShardWriter(tmp_path, 10**6)
    for name, tensor in {"whole": whole, "again": whole, "row": whole[1], "column": whole[:, 2]}.items():
        writer.add(name, tensor)
    writer.close()
    assert_same(weights(tmp_path), {"whole": whole, "again": whole, "row": whole[1], "column": whole[:, 2]})


def test_the_command_converts_and_says_where(tiny_chat: Path, tiny_llama: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llava_tuning", "prepare"]
    out = tmp_path / "out"
    result = forked.run([*command, str(tiny_chat), "--out", str(out)], capture_output=True)
    assert result.returncode == 0, result.stderr
    assert f"wrote {out}" in result.stdout
    assert_same(weights(out), weights(tiny_llama))
    result = forked.run([*command, str(tiny_chat), "--out", str(out)], capture_output=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"llava-tuning: {out}: is there already")
