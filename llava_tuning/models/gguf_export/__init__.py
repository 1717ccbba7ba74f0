"""A model directory → GGUF files for llama.cpp: the language model, and what sees (mmproj)."""
