"""The GPUs: too old, too few, without a driver, or at fault; and models that they cannot share."""

from __future__ import annotations

from engines.starting.symptoms.symptom import Symptom, Trouble, permanent, same

ANOTHER_TP = "Change tensor_parallel in stack.toml: 1, 2, 4 and 8 suit most models."
INSTALL_DRIVER = "Install or update the NVIDIA driver (R580 or newer), or use the profile cpu."

DEVICES: tuple[Symptom, ...] = (
    # config/vllm.py, compressed_tensors.py, quark.py; platforms/cuda.py; v1/attention/backends/triton_attn.py; torch
    permanent(
        r"not supported for the current GPU\. (?:Minimum|Required|Min) capability: (?P<least>\d+)\. "
        r"Current capability: (?P<found>\d+)",
        Trouble.CARD,
        "this quantization needs compute capability {least} (x 10) and the GPU has {found}",
        "Choose another quantization, or a newer GPU.",
    ),
    permanent(
        r"Bfloat16 is only supported on GPUs|bfloat16 KV cache is not supported on",
        Trouble.CARD,
        "the GPU is too old for bfloat16",
        "Choose a newer GPU, or a model in float16.",
    ),
    permanent(
        r"no kernel image is available|No valid attention backend found for",
        Trouble.CARD,
        "this vLLM has no code for this GPU and model",
        "Choose another GPU for it, or another kv_cache_dtype; vLLM needs compute capability 7.5 or more.",
    ),
    permanent(
        r"World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<found>\d+)\)|local_world_size",
        Trouble.CARD,
        "the engine sees fewer GPUs than tensor_parallel asks for",
        "Check that the planned GPUs are there (`spillway plan`), then `spillway up`.",
    ),
    permanent(
        r"Found no NVIDIA driver|No CUDA GPUs are available|driver version is insufficient|unsupported toolchain"
        r"|libcuda\.so\.1: cannot open|Failed to infer device type|forward compatibility was attempted"
        r"|NVML Shared Library Not Found",
        Trouble.DRIVER,
        "the NVIDIA driver is not usable for this engine",
        INSTALL_DRIVER,
    ),
    # config/model.py; quantization/utils/{fp8_utils,marlin_utils}.py; distributed/utils.py
    permanent(
        r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
        Trouble.DIVISION,
        "the model's {heads} attention heads cannot be divided over {size} GPUs",
        ANOTHER_TP,
    ),
    permanent(
        r"is not divisible\s+by\s+(?:weight quantization block|min_thread|group_size)|is not divisible by (?:tp|tensor)"
        r"|must be divisible by tensor",
        Trouble.DIVISION,
        "the model's weights cannot be divided over so many GPUs",
        ANOTHER_TP,
    ),
    same(
        r"uncorrectable ECC error|fallen off the bus|illegal memory access|unspecified launch failure"
        r"|misaligned address|system not yet initialized|GPU is lost",
        Trouble.GPU_FAULT,
        "the GPU reported a fault",
        "Look at the kernel log (`dmesg | grep Xid`); if it repeats, reset the GPU or take it out of [gpus] use.",
    ),
)
