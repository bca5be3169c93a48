"""Runs a kernel on each GPU and prints one line of JSON: `python -m watchmove.service.watching.gpu_kernel`.

It is a process of its own, because PyTorch takes seconds and memory to load, and a broken driver can end or block the
process that uses it.
"""

import json

_NUMBERS = 1024
"""Numbers that a kernel doubles. Set by hand: their sum is exact in float32."""


def kernels() -> dict[str, object]:
    """What PyTorch finds: `cuda`, the version that it was built for, and of each of the `devices` its name.

    Raises RuntimeError if a kernel fails or computes something wrong.
    """
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        doubled = torch.arange(_NUMBERS, dtype=torch.float32, device=f"cuda:{index}") * 2
        if int(doubled.sum().item()) != _NUMBERS * (_NUMBERS - 1):
            raise RuntimeError(f"cuda:{index} computes wrong sums")
        found.append(torch.cuda.get_device_name(index))
    return {"torch": torch.__version__, "cuda": torch.version.cuda or "", "devices": found}


if __name__ == "__main__":
    print(json.dumps(kernels()))
