# Stage 1 with SmolLM2-135M and the bundled CLIP (112 px, patches of 14 px, 64 picture tokens).
#
#   llava-tuning data easy-vqa --out data/easy_vqa
#   llava-tuning train llava_smollm2_135m_clip_small_p14_112_e1_pretrain
#
# Needs 5 GB of memory (measured with an encoder of 96 px); no GPU. Learning rate as in LLaVA-1.5's and XTuner's
# pretraining (1e-3), batch made small.
# `make demo` trains by it on a CPU, `make -f assets/demo/Makefile` on a GPU, with more data and larger batches.
_base_ = ["../_base_/llava_pretrain.py"]

llm = "smollm2"  # the embedded language model; or a directory from `llava-tuning prepare`
vision_tower = "default"  # the bundled CLIP; or a directory from `llava-tuning train-clip`
data_path = "data/easy_vqa/pretrain.json"
image_folder = "data/easy_vqa"
max_length = 512
batch_size = 16
dataloader_num_workers = 0
gradient_checkpointing = False
evaluation_freq = 100
evaluation_inputs = ["Describe this picture."]
