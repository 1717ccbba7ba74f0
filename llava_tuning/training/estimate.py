"""What a training step costs: floating-point operations, memory, and from both how long it takes on a card.

Rates and shares of memory are those of `benchmarks/train_step.py` on one NVIDIA H100; other cards are scaled
by their makers' figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llava_tuning.training.float8 import Float8

GIB = 2**30
WORK_BYTES = 1.5 * GIB  # logits, their gradient, libraries' workspaces


@dataclass(frozen=True)
class Load:
    """What goes through the model in a step or an epoch.

    Args:
        tokens: of all samples, picture positions included.
        squares: sum over the samples of tokens², what attention costs.
        supervised: positions with a label.
        pictures: number of pictures.
    """

    tokens: float
    squares: float
    supervised: float
    pictures: float

    @classmethod
    def of(cls, lengths: Sequence[int], supervised: Sequence[int], pictures: int) -> Load:
        """From the tokens and the supervised positions of each sample."""
        return cls(sum(lengths), sum(n * n for n in lengths), sum(supervised), pictures)

    def times(self, factor: float) -> Load:
        """As much `factor` times over."""
        return Load(*(factor * part for part in (self.tokens, self.squares, self.supervised, self.pictures)))


@dataclass(frozen=True)
class Training:
    """The shapes and what of them trains; LoRA ranks are 0 for none."""

    text: Any  # LlamaConfig
    picture: Any = None  # CLIPVisionConfig; None without a vision tower
    full: bool = False
    rank: int = 0
    dropout: float = 0.0
    vision_rank: int = 0
    four_bit: bool = False
    frozen_fp8: Float8 = False
    trained_parameters: int = 0
    frozen_parameters: int = 0

    @property
    def linear(self) -> list[tuple[int, int]]:
        """Sizes of the matrices of one of the language model's layers."""
        hidden, inner = self.text.hidden_size, self.text.intermediate_size
        narrow = hidden * self.text.num_key_value_heads // self.text.num_attention_heads
        attention = [(hidden, hidden), (hidden, narrow), (hidden, narrow), (hidden, hidden)]
        return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]

    @property
    def kind(self) -> str:
        """Which of the measured rates is nearest; LoRA with float8 both ways has not been measured."""
        if self.full:
            return "full"
        if self.rank:
            return "lora, float8 backward" if self.frozen_fp8 and not self.four_bit else "lora"
        if self.frozen_fp8:
            return "pretrain, float8" if self.frozen_fp8 is True else "pretrain, float8 backward"
        return "pretrain"


FLOP_FORMULA = (
    "2 × weights × tokens forward; the same again for the gradient of the inputs, and again for that of "
    "weights that train; attention within each sample (causal: half) 2 × tokens² × width forward, twice that "
    "backward; the head at supervised positions only, the vision tower up to the layer that is used"
)


def flop(training: Training, load: Load, recomputed: float = 0.0) -> float:
    """Floating-point operations that a load needs at least, by `FLOP_FORMULA`.

    Two for each multiplication and addition of a matrix product.

    Args:
        recomputed: share of the language model's layers whose forward pass runs twice.
    """
    text, picture = training.text, training.picture
    hidden, layers = text.hidden_size, text.num_hidden_layers
    weights = layers * sum(a * b for a, b in training.linear)
    adapter = layers * training.rank * sum(a + b for a, b in training.linear)
    passes = 3 if training.full else 2
    total: float = 2 * load.tokens * ((passes + recomputed) * weights + (3 + recomputed) * adapter)
    total += (3 + recomputed) * 2 * load.squares * hidden * layers
    total += passes * 2 * load.supervised * hidden * text.vocab_size
    if picture is None:
        return total
    patches = (picture.image_size // picture.patch_size) ** 2
    seen = load.pictures * (patches + 1)
    width, wide = picture.hidden_size, picture.intermediate_size
    depth = picture.num_hidden_layers - 1
    tower = depth * (4 * width**2 + 2 * width * wide)
    tower_adapter = depth * training.vision_rank * (8 * width + 2 * (width + wide))
    passes = 2 if training.vision_rank else 1
    total += 2 * seen * (passes * tower + 3 * tower_adapter)
    total += (3 if training.vision_rank else 1) * 4 * seen * (patches + 1) * width * depth
    return total + 3 * 2 * load.pictures * patches * (width * hidden + hidden**2)  # the projector trains


def layer_bytes(training: Training, tokens: float) -> float:
    """What one layer of the language model keeps for the backward pass of `tokens`, bytes.

    In bfloat16: the inputs of attention, feed-forward and the next layer, queries, keys, values, attention's
    output, gate and up. Where weights train, the product of gate and up as well; LoRA keeps each matrix's
    input after dropout.
    """
    hidden, inner = training.text.hidden_size, training.text.intermediate_size
    narrow = hidden * training.text.num_key_value_heads // training.text.num_attention_heads
    kept: float = 2 * (3 * hidden + hidden + 2 * narrow + 2 * inner)
    if training.full:
        kept += 2 * inner
    elif training.rank:
        inputs = 6 * hidden + inner
        kept += 2 * (inputs if training.dropout else 2 * hidden + inner)
        kept += 2 * 7 * training.rank
    return tokens * kept


def memory(training: Training, load: Load, recomputed: int, processes: int = 1) -> float:
    """Peak memory of one process in bytes, when `recomputed` layers keep nothing but their input.

    What trains takes 16 bytes a parameter (float32 weight, gradient, AdamW's two moments; 20 among several
    processes), what is frozen 2 (and 1 more for gradients in float8), a 4-bit matrix 0.5 and its scales 4 for
    each 64 parameters; in full finetuning the layers' weights are held in bfloat16 besides.
    """
    text, picture = training.text, training.picture
    layers = text.num_hidden_layers
    base: float = training.trained_parameters * (16 if processes == 1 else 20)
    base += training.frozen_parameters * 2
    if training.four_bit:
        base += layers * sum(a * b for a, b in training.linear) * (0.5 + 4 / 64 - 2)
    if training.full:
        base += 2 * layers * sum(a * b for a, b in training.linear)
    elif training.frozen_fp8 == "backward" and not training.four_bit:
        base += layers * sum(a * b for a, b in training.linear)
        if training.vision_rank:
            width, wide = picture.hidden_size, picture.intermediate_size
            base += picture.num_hidden_layers * (4 * width**2 + 2 * width * wide)
    layer = layer_bytes(training, load.tokens)
    activations = (layers - recomputed) * layer + recomputed * 2 * load.tokens * text.hidden_size
    if recomputed:
        activations += layer  # the one that is computed again
    if training.vision_rank:
        seen = load.pictures * ((picture.image_size // picture.patch_size) ** 2 + 1)
        width, wide = picture.hidden_size, picture.intermediate_size
        kept = 2 * (6 * width + 2 * wide) + 3 * (5 * width + wide)
        activations += (picture.num_hidden_layers - 1) * seen * kept
    return base + activations + WORK_BYTES


@dataclass(frozen=True)
class Card:
    """A GPU: its memory, its makers' figure for dense bfloat16 (or float16) products, use for float8."""

    name: str
    gib: int
    tflop_per_s: float
    float8: bool = False


# Makers' data sheets; where there are several sizes the usual one.
CARDS = (
    Card("H200", 141, 989, float8=True),
    Card("H100", 80, 989, float8=True),
    Card("A100", 80, 312),
    Card("L40S", 48, 362),
    Card("A6000", 48, 155),
    Card("RTX 4090", 24, 165),
    Card("RTX 3090", 24, 71),
    Card("L4", 24, 121),
    Card("A10", 24, 125),
    Card("T4", 16, 65),
)
SIZES = (16, 24, 40, 48, 80)  # GiB
# What the CPU takes to start one layer's kernels, once forward or once backward, however little they do: slow
# CPUs beside an H100 (benchmarks/results/small_steps_h100.json). On a faster one a frozen layer took 0.8 ms.
LAUNCH_S = 0.0014
LAUNCH_ADAPTED_S = 0.0023  # with LoRA
USABLE = 0.94  # of a card's memory, as `Recompute` takes it
# Useful TFLOP/s over the data sheet's, measured on an H100 (benchmarks/results), with a hidden size of 2048.
# Narrower layers read and write more for each product: the cost is fitted to one row, stage 2 of the
# embedded model (576 wide, 65,533 tokens a step), and a guess between that and 2048.
REFERENCE_WIDTH, NARROW_COST = 2048, 0.68
SHARE = {
    "pretrain": 528 / 989,
    "pretrain, float8 backward": 613 / 989,
    "pretrain, float8": 706 / 989,
    "lora": 399 / 989,
    "lora, float8 backward": 466 / 989,
    "full": 477 / 989,
}


def card_named(name: str) -> Card | None:
    """The card that `name` names, as PyTorch or a user writes it, or None; "40GB" in it is its memory."""
    words = re.findall(r"[A-Z0-9]+", name.upper())
    if "LAPTOP" in words:
        return None
    for card in CARDS:
        wanted = card.name.upper().split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            sizes = [int(word[:-2]) for word in words if re.fullmatch(r"[0-9]+GB", word)]
            return replace(card, gib=sizes[0]) if sizes else card
    return None


def layers_recomputed(training: Training, load: Load, gib: float, processes: int = 1) -> int | None:
    """How many layers must be computed again for a step to fit into `gib`; None when it cannot fit."""
    room = USABLE * gib * GIB
    fitting = (
        n for n in range(training.text.num_hidden_layers + 1) if memory(training, load, n, processes) <= room
    )
    return next(fitting, None)


def seconds(training: Training, load: Load, card: Card, recomputed: float = 0.0, steps: float = 1.0) -> float:
    """How long `load` takes on a card in `steps` steps, when input and several processes cost nothing."""
    busy = flop(training, load, recomputed) / (SHARE[training.kind] * card.tflop_per_s * 1e12)
    busy *= 1 + NARROW_COST * max(0.0, REFERENCE_WIDTH / training.text.hidden_size - 1)
    return max(busy, steps * _launches(training, recomputed))


def _launches(training: Training, recomputed: float) -> float:
    """Seconds that the CPU needs to start a step's kernels."""
    passes = 2 + recomputed  # forward, backward, and what is computed twice
    took = training.text.num_hidden_layers * passes * (LAUNCH_ADAPTED_S if training.rank else LAUNCH_S)
    if training.picture is not None:
        layers = training.picture.num_hidden_layers
        took += layers * (passes * LAUNCH_ADAPTED_S if training.vision_rank else LAUNCH_S)
    return took
