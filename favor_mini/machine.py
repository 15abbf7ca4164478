"""The machine that this process runs on: device, memory, fast bfloat16 and versions."""

import os
import platform
import sys
from pathlib import Path

from .keys import library_versions


def has_fast_bf16() -> bool:
    """Whether the device has bfloat16 instructions, which make it faster than float32.

    True on a GPU of compute capability 8.0 (Ampere) or later: on earlier ones, such as a T4,
    PyTorch emulates bfloat16. True on a CPU with AVX512-BF16 or AMX.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not in torch 2.9
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def peak_memory() -> int | None:
    """The peak resident memory of this process in bytes; None where the system has no record of it
    (Windows)."""
    try:  # Linux: ru_maxrss includes the memory of the parent process, VmHWM does not
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine() -> dict[str, str | int]:
    """What measured times depend on: device, number of threads, and versions."""
    import torch

    device = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return {"device": device, "threads": torch.get_num_threads(),
            **library_versions("favor-mini", "torch", "transformers", "peft")}
