"""What `--load-in` takes; what becomes of it is in `inference/memory_modes.py`. Quick to import."""

from __future__ import annotations

from typing import Literal, get_args

LoadIn = Literal["auto", "4bit", "8bit", "bfloat16", "float16", "float32", "int8"]
LOAD_IN: tuple[str, ...] = get_args(LoadIn)
LOAD_IN_HELP = (
    "How weights are held: auto takes what the free memory has room for; 4bit; 8bit (GPU); int8 (CPU); "
    "bfloat16; float16 (GPU); float32."
)
