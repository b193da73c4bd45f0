"""What is stored of how something was made: read, checked, compared, and kept readable when fields are added."""

import json
import shutil
from dataclasses import dataclass, fields, replace

import pytest
import torch

from lib.methods import METHODS, find_method
from lib.methods.contraclip import ContraCLIPSettings
from lib.settings import FACT, FREE, PoolSettings, Range, TrainingSettings, WalkSettings, setting
from models.class_names import suffix_of
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

KINDS = {
    "complete/args.json": ContraCLIPSettings,
    "unfinished/args.json": ContraCLIPSettings,
    "pool/args.json": PoolSettings,
    "complete/results/stylegan2_tiny-1/2_0.2_0.4/59f20fa7ef5d208ada6a2a460ee25f4383d12c8c/settings.json": WalkSettings,
}


@pytest.fixture(params=KINDS)
def stored(request, data):
    """(class, file, content) of a file that an earlier version wrote."""
    file = data / "layout1" / request.param
    return KINDS[request.param], file, json.loads(file.read_text())


def test_files_of_earlier_versions_are_read_and_written_back_the_same(stored):
    kind, file, content = stored
    written = kind.read(content, file).to_json()
    assert content.items() <= written.items()
    added = {one.name: one.default for one in fields(kind)
             if one.name not in content and one.metadata["use"] != FACT}  # unknown facts are left out
    assert written == content | added


def test_a_field_that_is_added_changes_nothing_of_earlier_files(stored):
    kind, file, content = stored

    @dataclass(frozen=True, kw_only=True)
    class Later(kind):
        newest: int = setting(7)

    before = Later.read(content, file)
    assert before.newest == 7
    assert before.differences(Later.of(kind.read(content, file).to_json())) == ""


def test_a_lacking_setting_has_the_default_of_its_time(stored):
    kind, file, content = stored
    for one in fields(kind):
        if one.name in content and one.name != "gan":
            rest = {key: value for key, value in content.items() if key != one.name}
            assert getattr(kind.read(rest, file), one.name) == one.default


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"warp": 3}, "unknown setting 'warp'"),
        ({"truncation": "0.7"}, "truncation '0.7', which is not of the type float"),
        ({"truncation": 2}, "truncation 2, which must be above 0 and at most 1"),
        ({"truncation": True}, "truncation True"),
        ({"truncation": None}, "truncation None, which must be given"),
        ({"lr": float("nan")}, "lr nan"),
        ({"lr": float("inf")}, "lr inf"),
        ({"lr": 10**400}, "lr 1000"),
        ({"batch_size": 2.5}, "batch_size 2.5, which is not of the type int"),
        ({"batch_size": 0}, "batch_size 0, which must be at least 1"),
        ({"loss": "mse"}, "loss 'mse', which must be one of cossim, contrastive, paired"),
        ({"stylegan_space": ["W"]}, "stylegan_space"),
        ({"precision": "zzz"}, "precision 'zzz'"),
        ({"gan": None}, "gan None"),
        ({"max_iter": -5}, "max_iter -5"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_file(changed, named, data):
    file = data / "layout1" / "complete" / "args.json"
    with pytest.raises(UserError) as error:
        ContraCLIPSettings.read(json.loads(file.read_text()) | changed, file)
    assert "args.json" in str(error.value) and named in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 300 + len(str(file))


def test_a_file_without_what_is_needed_is_refused(data):
    with pytest.raises(UserError, match="lacks the setting 'gan'"):
        PoolSettings.read({}, "args.json")


def test_another_program_s_file_is_read_as_far_as_it_can_be():
    content = {"gan": "g", "truncation": 0.5, "epochs": [3], "lr": "fast"}
    settings = ContraCLIPSettings.read(content, "args.json", needed={"gan", "truncation"})
    assert (settings.gan, settings.truncation, settings.lr) == ("g", 0.5, 1e-3)
    with pytest.raises(UserError, match="truncation"):
        ContraCLIPSettings.read(content | {"truncation": "half"}, "args.json", needed={"gan", "truncation"})


def another(one, value):
    """A value that a field may have, other than this one."""
    if isinstance(one.metadata["within"], tuple):
        return next(other for other in one.metadata["within"] if other != value)
    if type(value) is bool:
        return not value
    if "list" in str(one.type):
        return [7]
    if "int" in str(one.type):
        return 7
    return 0.3 if "float" in str(one.type) else "other"


# Settings at which all that may be named is named.
OWN = {"contraclip": {"loss": "contrastive"}, "latentclr": {"direction_model": "nonlinear"}}


@pytest.mark.parametrize("name", METHODS)
def test_an_experiment_s_name_has_the_settings_that_say_so_and_no_others(name):
    method = find_method(name)
    space = {"stylegan_space": "W+", "stylegan_layer": 3} if "W+" in method.spaces else {}
    settings = method.Settings(gan="g", **space, **OWN.get(name, {}))

    def named(settings):
        gan = settings.gan + suffix_of(settings.biggan_target_classes)
        return method.experiment_name(settings, gan, getattr(settings, "corpus", None), 9) + settings.exp_id

    for one in fields(method.Settings):
        if one.name in method.unused or (one.name == "stylegan_layer" and not space):
            continue
        changed = replace(settings, **{one.name: another(one, getattr(settings, one.name))})
        assert (named(changed) != named(settings)) == (one.metadata["named"] or one.name == "gan"), one.name


def test_differences_are_those_of_what_must_stay_the_same():
    before = TrainingSettings(gan="g", lr=0.1, seed=3, gan_sha256="a", ckp_freq=3, precision="fp32")
    now = replace(before, lr=0.2, ckp_freq=9, cuda=False, gan_sha256=None)
    assert before.differences(now) == "lr is 0.2, was 0.1"
    assert before.differences(replace(now, seed=4)) == "lr is 0.2, was 0.1, seed is 4, was 3"
    assert before.differences(replace(now, lr=0.1, gan_sha256="b")) == "gan_sha256 is 'b', was 'a'"
    assert replace(now, precision=None).kept_from(before).precision == "fp32"
    assert replace(now, precision="bf16").kept_from(before).precision == "bf16"


def test_facts_that_are_not_known_are_not_written():
    uses = {one.name: one.metadata["use"] for one in fields(ContraCLIPSettings)}
    written = ContraCLIPSettings(gan="g").to_json()
    assert all((uses[key] == FACT) == (key not in written) for key in uses)
    assert uses["ckp_freq"] == FREE


@pytest.mark.parametrize(
    "within, inside, outside, said",
    [
        (Range(0, 1), (0, 0.5, 1), (-0.1, 1.1), "at least 0 and at most 1"),
        (Range(0, 1, open_low=True, open_high=True), (0.5,), (0, 1), "above 0 and below 1"),
        (Range(low=3), (3, 10**300), (2, float("inf"), float("nan")), "at least 3"),
        (Range(), (-1, 1), (float("-inf"),), "finite"),
    ],
)
def test_range(within, inside, outside, said):
    assert all(value in within for value in inside) and not any(value in within for value in outside)
    assert str(within) == said


# --- runs, pools and walks of an earlier version, gone on with by the commands

NAME = "ContraCLIP_stylegan2_tiny-W-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-contrastive_0.5-faces"
CODE = "59f20fa7ef5d208ada6a2a460ee25f4383d12c8c"


@pytest.fixture
def workplace(data, tiny_clip_file, tmp_path):
    """A working directory in the layout of an earlier version, with the files that its commands named."""
    shutil.copy(data / "stylegan2_tiny.pth", tmp_path)
    shutil.copy(tiny_clip_file, tmp_path)
    shutil.copy(data / "layout1" / "faces.txt", tmp_path)
    experiments = tmp_path / "experiments"
    shutil.copytree(data / "layout1" / "unfinished", experiments / "wip" / NAME)
    shutil.copytree(data / "layout1" / "complete", experiments / "complete" / f"{NAME}-whole")
    shutil.copytree(data / "layout1" / "pool", experiments / "latent_codes" / "stylegan2_tiny" / "stylegan2_tiny-1")
    return tmp_path


def command(directory):
    """The arguments that began an experiment."""
    return (directory / "command.sh").read_text().splitlines()[1].split()[2:]


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_run_of_an_earlier_version_goes_on_to_the_same_end(workplace, data, run_warm):
    arguments = command(workplace / "experiments" / "wip" / NAME)
    assert "trained: " in done(run_warm("train.py", *arguments, cwd=workplace))
    end = workplace / "experiments" / "complete" / NAME
    expected = load_tensors(data / "layout1" / "complete" / "models" / "latent_support_sets.pt")
    for key, found in load_tensors(end / "models" / "latent_support_sets.pt").items():
        torch.testing.assert_close(found, expected[key], rtol=1e-4, atol=1e-4)
    stats = [json.loads((place / "stats.json").read_text()) for place in (end, data / "layout1" / "complete")]
    assert stats[0].keys() == stats[1].keys()


def test_the_same_command_goes_on_with_the_settings_that_it_began_with(workplace, run_warm):
    """As where a flag's default has changed since: here what was not given stands otherwise in the stored settings."""
    file = workplace / "experiments" / "wip" / NAME / "args.json"
    stored = json.loads(file.read_text())
    assert not any("lss-beta" in word or "seed" in word for word in command(file.parent))
    file.write_text(json.dumps(stored | {"lss_beta": 0.3, "seed": 5}))
    done(run_warm("train.py", *command(file.parent), cwd=workplace))
    assert json.loads((workplace / "experiments" / "complete" / NAME / "args.json").read_text())["seed"] == 5


def test_a_walk_of_an_earlier_version_is_left_as_it_is(workplace, run_warm):
    experiment = workplace / "experiments" / "complete" / f"{NAME}-whole"
    code = experiment / "results" / "stylegan2_tiny-1" / "2_0.2_0.4" / CODE
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in code.rglob("*") if file.is_file()}
    walk = ["--strip", "--gif", "--gif-height=16", "--strip-height=16", "--img-size=16", "--img-quality=50",
            "--shift-steps=1", "--eps=0.2", "--pool=stylegan2_tiny-1", f"--exp={experiment}", "--no-cuda"]  # fmt: skip
    done(run_warm("traverse_latent_space.py", *walk, cwd=workplace))
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before} == before


def test_a_pool_of_an_earlier_version_is_left_as_it_is(workplace, run_warm):
    pool = workplace / "experiments" / "latent_codes" / "stylegan2_tiny" / "stylegan2_tiny-1"
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in pool.rglob("*") if file.is_file()}
    done(run_warm("sample_gan.py", "--gan=stylegan2_tiny.pth", "--truncation=0.7", "--num-samples=1", cwd=workplace))
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before} == before
