"""Lengths as shares of the Jung radius: what they stand for in training and in walks, and what is said of them."""

import argparse
import json

import pytest
import torch
from method_runs import make_pool, stopped_at

import evaluate
import train
import traverse_latent_space
from lib.arguments import Share, length, shift
from lib.methods import shifts, text_start
from lib.methods.contraclip import ContraCLIP
from lib.trained import open_experiment
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors


@pytest.mark.parametrize("text, share", [("10%", 0.1), ("7%", 0.07), ("0.5%", 0.005), ("1.1%", 0.011)])
def test_a_percentage_is_a_share_of_the_radius(text, share):
    assert length(text) == shift(text) == Share(share) and shift(f"-{text}") == Share(-share)
    assert str(length(text)) == text


@pytest.mark.parametrize("text", ["0%", "-5%", "%", "ten%", "nan%", "2000%", "0", "-1"])
def test_no_other_length_is_taken(text):
    with pytest.raises(argparse.ArgumentTypeError):
        length(text)


def test_a_number_is_in_units_of_the_space():
    assert (length("0.2"), shift("-3")) == (0.2, -3)


def test_one_share_alone_is_refused():
    assert shifts.settings_of({"min_shift_magnitude": 0.1, "max_shift_magnitude": 0.2}) == {}
    for given in ({"min_shift_magnitude": Share(0.1)}, {"min_shift_magnitude": 1.0, "max_shift_magnitude": Share(2)}):
        with pytest.raises(UserError, match="give both as shares"):
            shifts.settings_of(given)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working directory with a corpus and a pool of one code; the text start measures few codes there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_start, "FEATURE_CODES", 40)
    monkeypatch.setattr(text_start, "RESPONSE_CODES", 4)
    (tmp_path / "faces.txt").write_text("a happy face | a sad face\na young face | an old face\n")
    make_pool(tmp_path)
    return tmp_path


@pytest.fixture
def trained(workplace, data, tiny_clip_file):
    """trained(flags..) -> (the directory of the run, its args.json)."""

    def run(*flags):
        before = set((workplace / "experiments" / "complete").glob("*"))
        train.main([f"--gan={data / 'stylegan2_tiny.pth'}", "--stylegan-space=W", "--no-cuda", *flags])
        (new,) = set((workplace / "experiments" / "complete").glob("*")) - before
        return new, json.loads((new / "args.json").read_text())

    def contraclip(*flags):
        return run(f"--clip-model={tiny_clip_file}", "--corpus=faces.txt", "--max-iter=4", "--ckp-freq=2", *flags)

    run.contraclip = contraclip
    return run


SHARES = ["--min-shift-magnitude=10%", "--max-shift-magnitude=20%"]
COSSIM = ["--loss=cossim", "--path=lines", "--batch-size=4"]


def test_shares_move_codes_as_far_as_their_lengths(trained, capsys):
    directory, settings = trained.contraclip(*COSSIM, *SHARES)
    radius = settings["jung_radius"]
    assert "-eps0.1R_0.2R-" in directory.name
    assert (settings["shortest_shift"], settings["longest_shift"]) == (0.1 * radius, 0.2 * radius)
    assert (f"shifts: {0.1 * radius:.3g} to {0.2 * radius:.3g}, 10% to 20% of the space's Jung radius of {radius:.3g}"
            in capsys.readouterr().out)
    absolute = [f"--min-shift-magnitude={0.1 * radius!r}", f"--max-shift-magnitude={0.2 * radius!r}"]
    same, _ = trained.contraclip(*COSSIM, *absolute)
    other, _ = trained.contraclip(*COSSIM)
    lines = [load_tensors(one / "models" / "paths.pt")["DIRECTIONS"] for one in (directory, same, other)]
    assert torch.equal(lines[0], lines[1]) and not torch.equal(lines[0], lines[2])


def test_a_stopped_run_goes_on_with_the_radius_that_it_began_with(trained):
    whole, _ = trained.contraclip(*COSSIM, *SHARES, "--max-iter=6", "--exp-id=whole")
    with stopped_at(4, ContraCLIP):
        trained.contraclip(*COSSIM, *SHARES, "--max-iter=6")
    resumed, settings = trained.contraclip(*COSSIM, *SHARES, "--max-iter=6", "--ckp-freq=3")  # not the same command
    lines = [load_tensors(one / "models" / "paths.pt")["DIRECTIONS"] for one in (whole, resumed)]
    assert torch.equal(*lines) and settings["shift_unit"] == "radius"


def test_with_the_paired_loss_shares_take_the_place_of_natural_shifts(trained):
    directory, settings = trained.contraclip(*SHARES)
    natural, natural_settings = trained.contraclip()
    units, natural_units = (load_tensors(one / "models" / "paths_init.pt")["shifts"] for one in (directory, natural))
    radius = torch.tensor(settings["jung_radius"])
    assert torch.equal(units, radius.expand(2)) and not torch.isclose(natural_units, radius).any()
    assert settings["longest_shift"] == pytest.approx(0.2 * settings["jung_radius"])
    assert natural_settings["shift_unit"] == "own"
    assert natural_settings["shortest_shift"] == pytest.approx(1.1 * natural_units.min().item())
    assert natural_settings["longest_shift"] == pytest.approx(1.8 * natural_units.max().item())
    assert settings["walk_length"] == natural_settings["walk_length"]


def test_warpedganspace_takes_them_too(trained):
    flags = ["--method=warpedganspace", "-K3", "-D4", "--reconstructor-type=LeNet", "--batch-size=4", "--max-iter=4"]
    directory, settings = trained(*flags, *SHARES)
    absolute = [f"--{end}-shift-magnitude={settings[name]!r}"
                for end, name in (("min", "shortest_shift"), ("max", "longest_shift"))]
    same, _ = trained(*flags, *absolute)
    assert directory.name.endswith("-eps0.1R_0.2R") and settings["longest_shift"] == 0.2 * settings["jung_radius"]
    sets = [load_tensors(one / "models" / "support_sets.pt")["SUPPORT_SETS"] for one in (directory, same)]
    assert torch.equal(*sets)


def test_a_method_without_shifts_has_no_use_for_shares(workplace, data):
    with pytest.raises(UserError, match="--max-shift-magnitude is not used by --method=sefa"):
        train.main([f"--gan={data / 'stylegan2_tiny.pth'}", "--method=sefa", "--no-cuda", *SHARES])


@pytest.mark.parametrize("flags", [["--method=sefa", "--num-directions=2"], None])
def test_a_walk_takes_its_step_as_a_share(flags, trained, capsys):
    """Of the radius that training has stored, or where it has not, of that of the space."""
    directory, _ = trained.contraclip(*COSSIM) if flags is None else trained(*flags)
    experiment = open_experiment(directory)
    expected = float(f"{0.02 * experiment.radius:.4g}")
    assert 0.001 < expected < experiment.radius
    walk = [f"--exp={directory}", "--pool=pool", "--no-cuda"]
    capsys.readouterr()
    traverse_latent_space.main([*walk, "--shift-steps=2", "--eps=2%", "--workers=0"])
    said = capsys.readouterr().out
    assert f"--eps=2% is {expected:g}: the space's Jung radius is {experiment.radius:.4g}" in said
    (made,) = (directory / "results" / "pool").glob("4_*")
    assert made.name.startswith(f"4_{expected}_") and f"--eps={expected:g}" in said.split("next: ")[1]
    paths = load_tensors(made / "code" / "paths_latent_codes.pt")
    steps = experiment.space.positions(paths[0]).diff(dim=0).norm(dim=-1)
    torch.testing.assert_close(steps, torch.full((4,), expected))
    asked = evaluate.parser().parse_args([f"--exp={directory}", "--pool=pool", "--eps=2%"])
    assert experiment.length(asked.eps) == expected  # so that evaluate.py finds this walk
    traverse_latent_space.main([*walk, "--shift=-10%"])
    (edits,) = (directory / "results" / "pool").glob("shift_*")
    assert edits.name == f"shift_{-0.1 * experiment.radius:.4g}"
