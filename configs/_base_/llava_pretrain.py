# Stage 1: captions train the projector alone; language model and vision tower are frozen.
_base_ = ["./llava.py"]

stage = "pretrain"
freeze_llm = True
projector_checkpoint = None
lr = 1e-3
