# Stage 1: InternLM2-Chat-20B with CLIP ViT-L/14 at 336 pixels; captions train the projector alone.
#
#   llava-tuning prepare internlm/internlm2-chat-20b --out models/internlm2-chat-20b
#   llava-tuning train llava_internlm2_chat_20b_clip_vit_large_p14_336_e1_gpu8_pretrain --nproc-per-node 8
#
# Data: LLaVA-Pretrain, 558,000 captioned pictures (BLIP-LAION-CC-SBU). Rate 1e-3 and one epoch as in LLaVA-1.5
# (arXiv:2310.03744, table 9) and XTuner 0.2.0's config of the same name; 8 GPUs × 16 × 2 = 256 records a step.
# Memory: `llava-tuning train llava_internlm2_chat_20b_clip_vit_large_p14_336_e1_gpu8_pretrain --dry-run` estimates it for your settings.
_base_ = ["../_base_/llava_pretrain.py"]

llm = "models/internlm2-chat-20b"
vision_tower = "models/clip-vit-large-patch14-336"
data_path = "data/llava_data/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json"
image_folder = "data/llava_data/LLaVA-Pretrain/images"
batch_size = 16  # a GPU
accumulative_counts = 2
