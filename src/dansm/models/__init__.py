"""Networks and autoencoders, by preset, all from diffusers."""

import os

# diffusers looks for GPUs when it is imported. By the driver, that would settle which ones the
# process sees, before its job has chosen (`dansm.workflow.devices`); by NVML it does not.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
