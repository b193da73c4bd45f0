"""What a resumed run reads, damaged in every part: refused by the name of the file."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from outcomes import refused
from torch import nn

from lib.files import save_tensors, write_json
from lib.methods.ranger import Ranger
from lib.pixels import to_uint8
from lib.training.checkpoints import fitting, read_checkpoint, restore
from models.errors import UserError
from models.untrusted.shapes import Misfit, checked

NAME = "ContraCLIP_stylegan2_tiny-Z-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-faces"
HUGE = 10**400


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


OPTIMIZERS = {
    "adam": lambda weights: torch.optim.Adam(weights, lr=0.1),
    "ranger": lambda weights: Ranger(weights, lr=0.1),
}


def trained(kind, steps=3):
    """(module, optimizer) after some steps."""
    torch.manual_seed(0)
    module = network()
    optimizer = OPTIMIZERS[kind](module.parameters())
    for step in range(steps):
        optimizer.zero_grad()
        module(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    return module, optimizer


def checkpoint(kind, steps=3):
    module, optimizer = trained(kind, steps)
    return copy.deepcopy({
        "iteration": 3, "support_sets": module.state_dict(), "optimizer": optimizer.state_dict(),
        "stats": {2: {"loss": 0.5, "lr": 0.1}}, "losses": [0.25],
    })  # fmt: skip


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_run_that_is_restored_goes_on_as_if_it_had_not_stopped(kind, tmp_path):
    save_tensors(checkpoint(kind), tmp_path / "checkpoint.pt")
    module, state = network(), read_checkpoint(tmp_path / "checkpoint.pt", 9)
    optimizer = OPTIMIZERS[kind](module.parameters())
    restore(state, module, optimizer, "checkpoint.pt")
    whole, its_optimizer = trained(kind, 5)
    for step in (3, 4):
        optimizer.zero_grad()
        module(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(found, whole.state_dict()[name]) for name, found in module.state_dict().items())
    state["stats"][4] = {"loss": 0.5, "lr": 0.1}
    now = {"support_sets": module.state_dict(), "optimizer": optimizer.state_dict(), "stats": state["stats"]}
    save_tensors(now, tmp_path / "resumed.pt")
    expected = {"support_sets": whole.state_dict(), "optimizer": its_optimizer.state_dict(),
                "stats": {at: {"loss": 0.5, "lr": 0.1} for at in (2, 4)}}  # fmt: skip
    save_tensors(expected, tmp_path / "whole.pt")
    assert (tmp_path / "resumed.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_run_is_restored_that_had_taken_no_step(kind):
    module = network()
    optimizer = OPTIMIZERS[kind](module.parameters())
    restore(checkpoint(kind, steps=0), module, optimizer, "checkpoint.pt")
    assert not optimizer.state


@pytest.mark.parametrize("part, value", [
    ("iteration", -5), ("iteration", 10), ("iteration", 10**9), ("iteration", HUGE), ("iteration", 2.0),
    ("iteration", True), ("iteration", None), ("iteration", torch.tensor(3)),
    ("stats", None), ("stats", [1]), ("stats", {"2": {"loss": 0.5, "lr": 0.1}}), ("stats", {2: 0.5}),
    ("stats", {2: {"loss": "0.5", "lr": 0.1}}), ("stats", {2: {"loss": 0.5}}), ("stats", {4: {"loss": 1.0, "lr": 1.0}}),
    ("stats", {2: {"loss": float("nan"), "lr": 0.1}}), ("stats", {2: {"loss": HUGE, "lr": 0.1}}),
    ("losses", None), ("losses", [None]), ("losses", [float("inf")]), ("losses", [0.1] * 4), ("losses", torch.ones(1)),
])  # fmt: skip
def test_checkpoint_with_an_impossible_state_is_refused(part, value, tmp_path):
    file = tmp_path / "checkpoint.pt"
    save_tensors(checkpoint("adam") | {part: value}, file)
    with pytest.raises(UserError, match=r"checkpoint\.pt"):
        read_checkpoint(file, 9)


@pytest.mark.parametrize("content", [None, [], 3, {"iteration": 1}])
def test_checkpoint_of_something_else_is_refused(content, tmp_path):
    save_tensors(content, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt"):
        read_checkpoint(tmp_path / "checkpoint.pt", 9)


def damaged(state, path, value):
    """The state with something else at a path of keys; a value that is a function is called with what was there."""
    *way, last = path
    inner = state
    for key in way:
        inner = inner[key]
    if value == "remove":
        del inner[last]
    else:
        inner[last] = value(inner[last]) if callable(value) else value
    return state


TENSOR_DAMAGES = [None, 3, "text", lambda old: old.double(), lambda old: torch.full_like(old, torch.nan),
                  lambda old: old.new_ones(7, 7), "remove"]  # fmt: skip
IN_OPTIMIZER = ("optimizer", "state", 0)


@pytest.mark.parametrize("kind, path, value", [
    *(("adam", ("support_sets", "0.weight"), value) for value in TENSOR_DAMAGES),
    *(("adam", (*IN_OPTIMIZER, "exp_avg"), value) for value in TENSOR_DAMAGES),
    *(("ranger", (*IN_OPTIMIZER, "slow"), value) for value in TENSOR_DAMAGES),
    *(("ranger", (*IN_OPTIMIZER, "step"), value) for value in (None, 1.0, 0, -3, HUGE, "remove")),
    *(("adam", (*IN_OPTIMIZER, "step"), value) for value in (None, 3, torch.tensor(-1.0), torch.tensor(torch.inf))),
    *(("adam", (*IN_OPTIMIZER, "more"), value) for value in (None, torch.ones(1))),
    *(("adam", path, value) for path in (("optimizer",), ("optimizer", "state"), IN_OPTIMIZER, ("support_sets",))
      for value in (None, [], 3, {})),
    ("adam", ("optimizer", "state", 17), {}),
    ("adam", ("support_sets", "more"), torch.ones(1)),
])  # fmt: skip
def test_weights_and_optimizer_that_do_not_fit_are_refused(kind, path, value):
    state = damaged(checkpoint(kind), path, value)
    module = network()
    optimizer = OPTIMIZERS[kind](module.parameters())
    if (path, value) == (("optimizer", "state"), {}):  # as before the first step
        restore(state, module, optimizer, "checkpoint.pt")
        return
    with pytest.raises(UserError, match=r"checkpoint\.pt"):
        restore(state, module, optimizer, "checkpoint.pt")


@pytest.mark.parametrize("value", [None, [], 3, "zzz", [{"lr": "much", "betas": None}]])
def test_settings_of_the_optimizer_are_those_of_the_run(value):
    module = network()
    optimizer = OPTIMIZERS["adam"](module.parameters())
    restore(damaged(checkpoint("adam"), ("optimizer", "param_groups"), value), module, optimizer, "checkpoint.pt")
    assert optimizer.param_groups[0]["lr"] == 0.1 and optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_start_that_no_network_can_be_made_of_is_refused_by_its_file():
    with pytest.raises(UserError, match=r"start\.pt does not fit this run \(KeyError: 'THETA'\)"), fitting("start.pt"):
        {}["THETA"]


EXPECTED = {"weight": torch.zeros(2, 3), "count": torch.tensor(1), "basis": (None, 3)}


@pytest.mark.parametrize("name, value", [
    ("weight", None), ("weight", 3), ("weight", torch.zeros(3, 2)), ("weight", torch.zeros(2, 3).long()),
    ("weight", torch.full((2, 3), torch.nan)), ("count", torch.tensor(1.0)), ("count", torch.zeros(2).long()),
    ("basis", torch.zeros(0, 3)), ("basis", torch.zeros(3)), ("basis", torch.zeros(2, 4)), ("more", torch.zeros(1)),
    (3, torch.zeros(1)), ("weight", "remove"),
])  # fmt: skip
def test_tensors_of_a_start_are_checked(name, value):
    state = {"weight": torch.ones(2, 3).half(), "count": torch.tensor(7), "basis": torch.ones(5, 3).double()}
    found = checked(state, EXPECTED)
    assert {name: one.dtype for name, one in found.items()} == {
        "weight": torch.float32, "count": torch.int64, "basis": torch.float32}  # fmt: skip
    with pytest.raises(Misfit):
        checked(damaged(state, [name], value), EXPECTED)
    with pytest.raises(Misfit):
        checked([], EXPECTED)


# --- through the command


@pytest.fixture(scope="module")
def finished(run_warm, data, tiny_clip_file, tmp_path_factory):
    """(working directory of a run that has ended, its arguments)"""
    cwd = tmp_path_factory.mktemp("finished")
    corpus = cwd / "faces.txt"
    corpus.write_text("a happy face | a sad face\na young face | an old face\n")
    arguments = [
        f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", f"--corpus={corpus}", "--loss=cossim",
        "--batch-size=2", "--max-iter=2", "--num-latent-support-dipoles=4", "--no-cuda", "--stylegan-space=Z",
    ]  # fmt: skip
    assert run_warm("train.py", *arguments, cwd=cwd).returncode == 0
    return cwd, arguments


@pytest.mark.parametrize("file, content", [
    ("models/semantic_dipoles.json", 5), ("models/semantic_dipoles.json", None), ("models/semantic_dipoles.json", {}),
    ("args.json", {"precision": "zzz"}), ("args.json", {"max_iter": -1}), ("args.json", {"batch_size": HUGE}),
    ("args.json", {"gan_sha256": 3}), ("args.json", {"lr": "0.1"}),
    ("models/checkpoint.pt", {"iteration": -5}), ("models/checkpoint.pt", {"iteration": 10**9}),
    ("models/checkpoint.pt", {"stats": "none"}), ("models/latent_support_sets_init.pt", {"SUPPORT_SETS": 3}),
])  # fmt: skip
def test_damaged_run_is_not_resumed(file, content, finished, run_warm, tmp_path):
    cwd, arguments = finished
    run = tmp_path / "experiments" / "wip" / NAME
    shutil.copytree(cwd / "experiments" / "complete" / NAME, run)
    if file.endswith(".pt"):
        before = torch.load(run / file, weights_only=True)
        torch.save(before | content, run / file)
    else:
        whole = content if not file.startswith("args") else json.loads((run / file).read_text()) | content
        write_json(whole, run / file)
    left = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    line = refused(run_warm("train.py", *arguments, cwd=tmp_path))
    assert Path(file).name in line
    (run / ".lock").unlink(missing_ok=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == left


def test_images_that_are_not_numbers_are_an_error_of_the_user():
    with pytest.raises(UserError, match="NaN"):
        to_uint8(torch.full((3, 2, 2), torch.nan))
