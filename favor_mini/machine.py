"""The machine that runs this: memory, fast bfloat16, device and versions."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch


def has_fast_bf16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32: on a GPU, or a CPU with instructions for it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def peak_memory() -> int | None:
    """The most bytes that this process has held; None where the system does not tell (Windows)."""
    try:  # Linux: ru_maxrss counts what the process that started this one held, VmHWM does not
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine() -> dict[str, str]:
    """What the seconds depend on, and the versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores, {platform.machine()}"
    return {"device": device, "threads": torch.get_num_threads(),
            **{name: version(name).split("+")[0] for name in ("favor-mini", "torch", "transformers", "peft")}}
