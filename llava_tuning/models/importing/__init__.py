"""LLaVA models of others → model directories: XTuner's format, and Hugging Face's with other processors."""
