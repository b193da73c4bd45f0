"""NVIDIA pickles of the tiny network, as published and changed."""

import json

import nvidia_pickles
import pytest
import torch


@pytest.fixture(scope="session")
def nvidia_state(data):
    return torch.load(data / "nvidia_tiny_state_dict.pt", weights_only=True)


@pytest.fixture(scope="session")
def nvidia_kwargs(data):
    """nvidia_kwargs(synthesis={..}, z_dim=..) -> the arguments that the tiny network was built with, changed."""

    def changed(mapping=None, synthesis=None, **others):
        kwargs = json.loads((data / "nvidia_tiny.json").read_text())["init_kwargs"]
        kwargs["mapping_kwargs"] |= mapping or {}
        kwargs["synthesis_kwargs"] |= synthesis or {}
        return nvidia_pickles.easy(kwargs | others)

    return changed


@pytest.fixture
def nvidia_file(nvidia_state, nvidia_kwargs, tmp_path):
    """nvidia_file(synthesis={..}, change=.., attributes=..) -> an NVIDIA pickle of the tiny network."""

    def write(change=lambda state: None, attributes=None, protocol=4, **changed):
        state = {key: value.clone() for key, value in nvidia_state.items()}
        change(state)
        network = nvidia_pickles.network(state, nvidia_kwargs(**changed), attributes)
        return nvidia_pickles.dump(checkpoint(network), tmp_path / "nvidia.pkl", protocol)

    return write


@pytest.fixture(scope="session")
def nvidia_bytes(nvidia_state, nvidia_kwargs, tmp_path_factory):
    """The NVIDIA pickle of the tiny network."""
    content = checkpoint(nvidia_pickles.network(nvidia_state, nvidia_kwargs()))
    return nvidia_pickles.dump(content, tmp_path_factory.mktemp("nvidia") / "nvidia.pkl").read_bytes()


def checkpoint(network):
    """What NVIDIA's training saves, with one network for both generators."""
    return {"G": network, "D": None, "G_ema": network, "training_set_kwargs": nvidia_pickles.EasyDict(path="a")}
