# Stage 1 of a model of everyday things: SmolLM2-135M and a CLIP of its own (112 px, patches of 14 px).
#
#   llava-tuning train llava_smollm2_135m_clip_small_p14_112_e1_pretrain --set vision_tower=bundled/encoder
#
# One step of `make -f assets/demo/Makefile`, for a GPU of 8 GB by estimate; hours were not measured yet.
# Learning rate as in LLaVA-1.5's pretraining (1e-3).
_base_ = ["../_base_/llava_pretrain.py"]

llm = "smollm2"
vision_tower = None  # what `llava-tuning train-clip` wrote
data_path = "bundled/pretrain.json"
image_folder = "bundled"
max_length = 512
batch_size = 160  # of about 100 tokens
dataloader_num_workers = 12
save_steps = 200
evaluation_freq = 200
evaluation_inputs = ["Describe this picture."]
