"""What a checkpoint holds, checked when it is read: it may be damaged, edited or a stranger's."""

import math
import sys
from contextlib import contextmanager

import torch

from models.errors import UserError, one_line
from models.untrusted.tensor_files import load_tensors

# The key of the trained weights is that of the first method, so that its checkpoints can still be read.
KEYS = {"iteration", "support_sets", "optimizer", "stats", "losses"}


class _Wrong(Exception):
    """What is wrong with a checkpoint, in words."""


def read_checkpoint(path, max_iter):
    """The content of a checkpoint of a run of `max_iter` iterations. Raises UserError if it is not one; the weights and
    the optimizer's state are checked by `restore`."""
    state = load_tensors(path)
    try:
        _check(isinstance(state, dict) and KEYS <= state.keys(), "it lacks what a checkpoint has")
        iteration = state["iteration"]
        _check(type(iteration) is int and 0 <= iteration <= max_iter, f"its iteration is not from 0 to {max_iter}")
        _check_statistics(state["stats"], iteration)
        losses = state["losses"]
        _check(isinstance(losses, list) and len(losses) <= iteration and all(map(_is_finite, losses)),
               "its losses are not finite numbers")
    except _Wrong as wrong:
        raise UserError(_unusable(path, wrong)) from None
    return state | {"stats": {at: _interned(entry) for at, entry in state["stats"].items()}}


def restore(state, trained, optimizer, path):
    """Put the weights and the optimizer's state of a checkpoint into a module and its optimizer, whose own are lost.

    Raises UserError, naming the file at `path`, if they do not fit or are not finite.
    """
    try:
        fresh = _fresh_state(trained, optimizer)
        _check_weights(state["support_sets"], trained.state_dict())
        _check_optimizer(state["optimizer"], fresh)
    except _Wrong as wrong:
        raise UserError(_unusable(path, wrong)) from None
    trained.load_state_dict(state["support_sets"])
    # The groups' settings are those of the run, and not what the file says.
    states = {index: _interned(one) for index, one in state["optimizer"]["state"].items()}
    optimizer.load_state_dict({"state": states, "param_groups": fresh["param_groups"]})


@contextmanager
def fitting(path):
    """For the time in which a method makes its networks of what the file at `path` holds. Raises UserError, naming it,
    where they cannot be made of that."""
    try:
        yield
    except (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        wrong = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} does not fit this run ({one_line(wrong, 100)}): remove its directory to begin anew"
                        ) from None


def _interned(content):
    """A dict with the same strings as keys that code has: pickle stores a string once that is the same object. So the
    checkpoints of a run that was resumed have the bytes of one that was not."""
    return {sys.intern(key): value for key, value in content.items()}


def _fresh_state(trained, optimizer):
    """The optimizer's state after one step without a gradient, which shows what belongs in it."""
    for parameter in trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer.state_dict()


def _check_statistics(stats, iteration):
    """{iteration: {"loss": .., "lr": .., ..}}, whole numbers up to the checkpoint's and finite ones."""
    _check(isinstance(stats, dict), "its statistics are not a dict")
    for at, entry in stats.items():
        _check(type(at) is int and 0 < at <= iteration, "its statistics are of other iterations")
        _check(isinstance(entry, dict) and {"loss", "lr"} <= entry.keys() and all(map(_is_finite, entry.values()))
               and all(isinstance(name, str) for name in entry), "its statistics are not finite numbers")


def _check_weights(found, expected):
    _check(isinstance(found, dict) and found.keys() == expected.keys(), "it has the weights of another network")
    for name, weight in expected.items():
        if isinstance(weight, torch.Tensor):
            _check_tensor(found[name], weight, f"its weights {name}")
        else:  # what a module says of its own kind
            _check(found[name] == weight, "it has the weights of another network")


def _check_optimizer(found, expected):
    """{"state": {parameter: {name: tensor or number}}, ..}; parameters that have never had a gradient are not there."""
    states = found.get("state") if isinstance(found, dict) else None
    _check(isinstance(states, dict) and states.keys() <= expected["state"].keys(), "it has another optimizer's state")
    for index, state in states.items():
        names = expected["state"][index]
        _check(isinstance(state, dict) and state.keys() == names.keys(), "it has another optimizer's state")
        for name, value in names.items():
            what = f"its optimizer's {name}"
            if isinstance(value, torch.Tensor):
                _check_tensor(state[name], value, what)
                _check(name != "step" or state[name] >= 1, f"{what} is below 1")
            else:
                _check(type(state[name]) is type(value) and _is_finite(state[name]), f"{what} is not a finite number")
                _check(name != "step" or state[name] >= 1, f"{what} is below 1")


def _check_tensor(found, expected, what):
    _check(isinstance(found, torch.Tensor) and found.shape == expected.shape and found.dtype == expected.dtype,
           f"{what} have another shape or type")
    _check(bool(found.isfinite().all()), f"{what} are not finite")


def _is_finite(value):
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _check(is_right, wrong):
    if not is_right:
        raise _Wrong(wrong)


def _unusable(path, wrong):
    return f"{path} is not a checkpoint of this run ({wrong}): remove it to start again"
