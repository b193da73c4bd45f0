"""The same numbers from the same run on a GPU, where sums are by default added in whatever order their parts come."""

import warnings
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import deterministic


@contextmanager
def repeatable(device):
    """On a GPU, choose operations that give the same bits each time, and convolutions in whole float32, of which torch
    rounds the factors by default; elsewhere both are so anyway.

    What has no such operation still runs: of this project, the gradients of CF-CLIP's views and of adaptive pooling.
    cuBLAS needs CUBLAS_WORKSPACE_CONFIG besides, which `lib.startup` sets.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            sdpa_kernel(SDPBackend.MATH),  # the other ways to compute attention have no such gradient
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        deterministic.fill_uninitialized_memory = fill
