"""InterFaceGAN: boundaries between a judge's extremes, in closed worlds and through the commands."""

import json

import pytest
import torch

import train
import traverse_latent_space
from lib.evaluation.experiments import Options, evaluate
from lib.files import save_tensors
from lib.judges import load_judge
from lib.latent_space import latent_space
from lib.methods import boundaries
from lib.methods.boundaries import conditional, fit_boundary, judged
from lib.methods.interfacegan import InterFaceGANSettings
from lib.trained import open_experiment
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, z in enumerate(torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))):
        save_tensors(z, tmp_path / "pool" / f"code_{i}" / "latent_code_z.pt")
    return tmp_path


def arguments(data, *more, gan="stylegan2_tiny", space="W"):
    return [f"--gan={data / gan}.pth", "--method=interfacegan", f"--stylegan-space={space}", "--judge=portraits",
            "--boundary-samples=60", "--boundary-extremes=0.3", "--no-cuda", *more]  # fmt: skip


def trained(workplace):
    [directory] = (workplace / "experiments" / "complete").iterdir()
    return directory


# --- boundaries


def test_a_boundary_faces_the_side_of_the_large_numbers():
    positions = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([3.0, 0.0, -4.0, 0.0, 0.0]) / 5
    normal, accuracy = fit_boundary(7 + 100 * positions, (positions @ wanted).tanh(), 0.1, 0, "smile")
    torch.testing.assert_close(normal.norm(), torch.tensor(1.0))
    assert normal @ wanted > 0.99 and accuracy > 0.97


def test_a_boundary_knows_when_there_is_nothing_to_learn():
    """Of numbers that have nothing to do with the codes, half of the extremes lie on either side."""
    drawn = torch.Generator().manual_seed(0)
    positions, numbers = torch.randn(4000, 5, generator=drawn), torch.rand(4000, generator=drawn)
    _, accuracy = fit_boundary(positions, numbers, 0.3, 0, "smile")
    assert 0.4 < accuracy < 0.6
    with pytest.raises(UserError, match="number smile is the same for most images"):
        fit_boundary(torch.randn(100, 5), (torch.arange(100) > 95).float(), 0.3, 0, "smile")


def test_conditional_boundaries_leave_their_conditions_alone():
    drawn = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    normal, *others = drawn / drawn.norm(dim=1, keepdim=True)
    found = conditional(normal, others, "smile")
    torch.testing.assert_close(torch.stack(others) @ found, torch.zeros(2), rtol=0, atol=1e-6)
    assert abs(found.norm() - 1) < 1e-6 and found @ normal > 0
    primal = normal - (normal @ others[0]) * others[0]  # the paper's form for one condition
    torch.testing.assert_close(conditional(normal, others[:1], ""), primal / primal.norm())
    assert conditional(normal, [], "smile") is normal
    with pytest.raises(UserError, match="nothing of smile is left"):
        conditional(normal, [others[0], -normal], "smile")


def test_numbers_are_judged_once_for_all_spaces_and_a_stopped_run_goes_on(tiny_stylegan2, workplace, monkeypatch):
    monkeypatch.setattr(boundaries, "CHUNK", 8)
    count = 0

    def see_in(space):
        def see(codes):
            nonlocal count
            if count >= 16:
                raise KeyboardInterrupt
            count += len(codes)
            return space.synthesise(codes).mean(dim=(2, 3))

        return see

    w, plus = latent_space(tiny_stylegan2, "W"), latent_space(tiny_stylegan2, "W+", 2)
    with pytest.raises(KeyboardInterrupt):
        judged(w, see_in(w), 20, 0, ["a"], at_once=3)
    count = 10  # of the 20, 16 are kept
    positions, numbers = judged(w, see_in(w), 20, 0, ["a"], at_once=3)
    assert count == 14 and positions.shape == (20, 32) and numbers.shape == (20, 3)
    positions, again = judged(plus, see_in(plus), 20, 0, ["a"])
    assert count == 14 and positions.shape == (20, 96) and torch.equal(again, numbers)
    z = torch.cat([torch.randn(n, 32, generator=boundaries.generator_for(0, 15, first)) for first, n in
                   ((0, 8), (8, 8), (16, 4))])  # fmt: skip
    torch.testing.assert_close(plus.synthesise(plus.codes_of(z)).mean(dim=(2, 3)), numbers, rtol=1e-4, atol=1e-5)
    count = 0
    judged(w, see_in(w), 4, 0, ["another"])
    assert count == 4


# --- the commands


def test_it_is_trained_walked_and_evaluated(workplace, data):
    train.main(arguments(data, "--corpus=attributes"))
    directory = trained(workplace)
    assert directory.name == "InterFaceGAN_stylegan2_tiny-W-K9-portraits-attributes"
    found = open_experiment(directory)
    assert found.labels[2] == ("a photo of a smiling person.", "a photo of a sad person.")
    assert len(found.settings.accuracies) == 9 and found.settings.judge_fingerprint.startswith("portraits-")
    traverse_latent_space.main([f"--exp={directory}", "--pool=pool", "--shift-steps=2", "--no-cuda", "--workers=0"])
    codes = load_tensors(directory / "results/pool/4_0.2_0.8/code_0/paths_latent_codes.pt")
    assert codes.shape == (9, 5, 10, 32)
    evaluated, summary = evaluate(directory, Options(pool="pool", judge="portraits", samples=100), torch.device("cpu"))
    assert json.loads((evaluated / "summary.json").read_text())
    assert summary["paths"][2]["own"] == "smile" and summary["paths"][2]["own_chosen_by"] == "judge"


def test_paths_raise_what_they_are_named_after(workplace):
    """Each number rises along its own path more than along the other one; accuracies say that it was found."""
    common = ["--gan=stylegan2_portraits64", "--method=interfacegan", "--boundary-samples=400", "--no-cuda"]
    train.main([*common, "--numbers", "background_lightness", "skin_tone"])
    found, judge = open_experiment(trained(workplace)), load_judge("portraits")
    assert found.labels == ["background_lightness", "skin_tone"] and found.settings.judge == "portraits"
    assert min(found.settings.accuracies) > 0.7
    z = torch.randn(16, found.generator.z_dim, generator=torch.Generator().manual_seed(2))
    codes, effects = found.space.codes_of(z), []
    for path in range(2):
        moves = found.paths(found.space.positions(codes), torch.full((16,), path))
        ahead, behind = (judge(found.space.synthesise(found.space.shift(codes, r * moves))) for r in (1, -1))
        effects.append((ahead - behind).mean(dim=0)[[judge.names.index(name) for name in found.labels]])
    effects = torch.stack(effects)
    assert (effects.diag() > 0.1).all() and (effects.diag() > 2 * effects.flip(0).diag().abs()).all()


def test_a_first_sentence_at_the_low_end_turns_the_path(workplace, data):
    train.main(arguments(data, "--numbers", "background_lightness", "hair_amount"))
    found = open_experiment(trained(workplace))
    (workplace / "bald.txt").write_text("a photo of a bald person. | a photo of a person with hair.\n")
    train.main(arguments(data, "--corpus=bald.txt"))
    turned = open_experiment(workplace / "experiments/complete/InterFaceGAN_stylegan2_tiny-W-K1-portraits-bald")
    torch.testing.assert_close(turned.paths.DIRECTIONS[0], -found.paths.DIRECTIONS[1])


@pytest.mark.parametrize("space, gan", [("Z", "pggan_tiny"), ("Z", "stylegan2_tiny"), ("W+", "stylegan2_tiny"),
                                        ("S", "stylegan2_tiny")])  # fmt: skip
def test_conditional_paths_in_every_space(space, gan, workplace, data):
    common = "--numbers", "smile", "age", "--boundary-samples=300"
    train.main(arguments(data, *common, gan=gan, space=space))
    plain = open_experiment(trained(workplace)).paths.DIRECTIONS.detach()
    train.main(arguments(data, *common, "--condition", "others", "smile", gan=gan, space=space))
    name = trained_names(workplace)[1]
    assert name.endswith("-conditional")
    found = open_experiment(workplace / "experiments/complete" / name).paths.DIRECTIONS.detach()
    torch.testing.assert_close((found * plain.flip(0)).sum(dim=1), torch.zeros(2), rtol=0, atol=1e-4)


def trained_names(workplace):
    return sorted((directory.name for directory in (workplace / "experiments/complete").iterdir()), key=len)


def test_a_clip_can_judge_and_does_not_measure_itself(workplace, data, tiny_clip_file):
    train.main(arguments(data, f"--judge=clip:{tiny_clip_file}", "--corpus=expressions3"))
    directory = trained(workplace)
    assert open_experiment(directory).settings.clip_model == str(tiny_clip_file)
    with pytest.raises(UserError, match="is the CLIP that trained these paths"):
        options = Options(pool="pool", judge=f"clip:{tiny_clip_file}", shift_steps=2, samples=100)
        evaluate(directory, options, torch.device("cpu"))
    assert InterFaceGANSettings(gan="", judge="portraits").clip_model is None


@pytest.mark.parametrize("gan, more, message", [
    ("stylegan2_tiny", [], "say what paths are for"),
    ("stylegan2_tiny", ["--corpus=attributes", "--numbers", "smile"], "say what paths are for"),
    ("stylegan2_tiny", ["--numbers", "smiles"], "--numbers smiles: the judge portraits has no such number; it has"),
    ("stylegan2_tiny", ["--numbers", "smile", "smile"], "--numbers names a number twice"),
    ("stylegan2_tiny", ["--numbers", "smile", "--condition", "agee"], "--condition agee: the judge portraits has no"),
    ("stylegan2_tiny", ["--corpus=cars"], "the judge portraits has no number of which"),
    ("stylegan2_tiny", ["--numbers", "smile", "--judge=nobody"], "'nobody' is not a judge"),
    ("stylegan2_tiny", ["--numbers", "smile", "--boundary-extremes=0.05"], "are fewer than 10 images"),
    ("stylegan2_tiny", ["--numbers", "smile", "--synthesis-resolution=16"], "judge portraits reads images of 64 px"),
    ("stylegan2_tiny", ["--numbers", "smile", "--lr=0.1"], "--lr is not used by --method=interfacegan"),
    ("stylegan2_tiny", ["--numbers", "smile", "--num-directions=2"], "--num-directions is not used by"),
    ("pggan_tiny", ["--numbers", "smile"], "has no space W"),
    ("biggan_pytorch_tiny", ["--numbers", "smile", "--stylegan-space=Z"], "the judge portraits reads images of 64 px"),
])  # fmt: skip
def test_what_cannot_be_is_refused_and_leaves_nothing(gan, more, message, workplace, data):
    with pytest.raises(UserError, match=message):
        train.main(arguments(data, *more, gan=gan))
    assert not (workplace / "experiments").exists()
