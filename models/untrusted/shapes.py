"""Tensors that a file of ours should hold: a start, a cache. It may have been damaged, or come from a stranger."""

import torch


class Misfit(ValueError):
    """Its message says what is wrong with the tensors, to be said after the name of their file."""


def checked(state, expected):
    """{name: tensor} of a state dict, with exactly the names that are expected.

    expected: {name: shape, a tuple with None where any length from 1 on fits, or a tensor of the shape and type}. A
    shape alone stands for one of floating-point numbers, which is given as float32. Raises Misfit where a tensor is
    missing, unknown, of another kind or shape, or not finite.
    """
    if not isinstance(state, dict):
        raise Misfit("has no tensors by name")
    for name in sorted(expected.keys() ^ state.keys(), key=str):
        raise Misfit(f"{'lacks' if name in expected else 'has another tensor,'} {str(name)[:60]}")
    return {name: _checked(name, state[name], what) for name, what in expected.items()}


def _checked(name, tensor, what):
    if not isinstance(tensor, torch.Tensor):
        raise Misfit(f"has a {type(tensor).__name__} as {name}")
    shape = tuple(what.shape) if isinstance(what, torch.Tensor) else what
    fits = tensor.ndim == len(shape) and all(length == wanted or (wanted is None and length > 0)
                                             for length, wanted in zip(tensor.shape, shape))  # fmt: skip
    if not fits:
        said = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
        raise Misfit(f"has {name} {tuple(tensor.shape)}, not ({said})")
    floating = what.is_floating_point() if isinstance(what, torch.Tensor) else True
    if tensor.is_floating_point() != floating:
        raise Misfit(f"has {name} of {tensor.dtype}")
    if not tensor.isfinite().all():
        raise Misfit(f"has {name} that is not finite")
    return tensor.to(what.dtype if isinstance(what, torch.Tensor) else torch.float32)
