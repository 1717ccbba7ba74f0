# Stage 1 of the demo model: SmolLM2-135M and the bundled CLIP (96 px, patches of 16 px, 36 picture tokens).
#
#   llava-tuning data easy-vqa --out data/easy_vqa
#   llava-tuning train llava_smollm2_135m_clip_tiny_p16_96_e1_pretrain
#
# Needs 5 GB of memory; no GPU. Learning rate as in LLaVA-1.5's and XTuner's pretraining (1e-3), batch made small.
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
