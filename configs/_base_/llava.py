# Base of both LLaVA stages. The values here and in common.py follow XTuner 0.2.0's LLaVA configs
# (xtuner/configs/llava), which follow LLaVA-1.5 (arXiv:2310.03744, table 9).
_base_ = ["./common.py"]

model = dict(
    type="llava_tuning.training.model.LeanLLaVAModel",
    freeze_visual_encoder=True,
    visual_select_layer=-2,
    llm=dict(type="llava_tuning.training.model.load_llm", path=None),
    visual_encoder=dict(type="llava_tuning.training.model.load_vision_tower", path=None),
)

# A vision tower that trains is replayed as a CUDA graph, where steps have as many pictures each: for a GPU whose CPU is slow.
vision_cuda_graph = False
evaluation_images = []  # one picture for all questions, or one each; relative to image_folder
evaluation_inputs = ["Please describe this picture", "请描述一下这张照片"]
