"""A double of the NVIDIA driver: GPUs that are not there, which the unmodified NVML binding reads."""
