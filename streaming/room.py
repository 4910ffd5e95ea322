"""How much memory is left, of this machine and of a device. Loads torch for a GPU only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..models.estimate import told

MEMINFO = Path("/proc/meminfo")


def host_memory() -> dict[str, int]:
    """{"total", "available"} in bytes; empty where the system does not tell (no /proc)."""
    try:
        lines = MEMINFO.read_text("ascii").splitlines()
    except OSError:
        return {}
    table = {
        name: int(rest.split()[0]) << 10 for name, _, rest in (s.partition(":") for s in lines)
    }
    return {"total": table["MemTotal"], "available": table["MemAvailable"]}


def free_bytes(device: str) -> int | None:
    """Bytes of a device's memory that are free; None where nothing is known.

    On a GPU what PyTorch keeps for later counts as free, as the next stream is made of it.
    """
    if device.startswith("cuda"):
        return _gpu_memory(device)[0]
    return host_memory().get("available")


def check_fits(
    what: str, parts: Mapping[str, int], device: str, remedies: Sequence[str] = ()
) -> None:
    """Whether something fits into what is free; where that is not known it is taken to.

    Args:
        what: takes the memory, for the message.
        parts: bytes by part.
        remedies: what would make it smaller.

    Raises:
        RuntimeError: it does not; with the numbers and what would help.
    """
    free = free_bytes(device)
    if free is None or sum(parts.values()) <= free:
        return
    raise RuntimeError(
        f"{what} takes {told(parts)} on {device}, where {free / 1e9:.1f} GB are free; "
        f"please use {', or '.join([*remedies, 'a device with more memory'])}"
    )


def free_share(device: str) -> float:
    """Share of a device's memory that is free, in 0..1; 1 where nothing is known."""
    if device.startswith("cuda"):
        free, total = _gpu_memory(device)
        return free / total
    memory = host_memory()
    return memory["available"] / memory["total"] if memory else 1.0


def _gpu_memory(device: str) -> tuple[int, int]:
    """Free and total."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + kept, total
