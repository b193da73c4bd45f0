"""The embedded world: the renderer, the population, and what the committed networks know of it."""

import pytest
import torch

from lib.config import CLIP_OF
from lib.judges.portrait_factors import FACTORS, POLES
from lib.judges.portraits import load_scorer
from models.load_generator import load_generator
from models.registry import CLIP_FILES
from scripts.portraits import batch_norm, class_world, scorer, train_clip, world
from scripts.portraits.measure import coverage, ranges, samples
from scripts.portraits.renderer import render
from scripts.portraits.train_generator import BATCH_STATISTICS_UNTIL, Critic, Training, build, images_of


@pytest.fixture(scope="module")
def factor_scorer():
    return load_scorer()


def random_factors(count):
    return torch.rand(count, len(FACTORS), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("resolution", [64, 128])
def test_portraits_are_images_whatever_they_are_drawn_with(resolution):
    factors = random_factors(4)
    images = render(factors, resolution)
    assert images.shape == (4, 3, resolution, resolution) and images.abs().max() <= 1
    torch.testing.assert_close(images[2:3], render(factors[2:3], resolution))


@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_shows(name):
    factors = torch.full((3, len(FACTORS)), 0.5)
    factors[:, FACTORS.index("tears")] = factors[:, FACTORS.index("glasses")] = 0
    factors[:, FACTORS.index(name)] = torch.tensor([0.0, 0.5, 1.0])
    low, middle, high = render(factors)
    assert (high - low).abs().mean() > 0.002
    if "hue" not in name:  # half the change is less than all of it; of colours on a circle it is not
        assert max((middle - low).abs().mean(), (high - middle).abs().mean()) < 1.1 * (high - low).abs().mean()


def test_population_depends_on_the_direction_of_codes_alone():
    z = torch.randn(4000, world.Z_DIM, generator=torch.Generator().manual_seed(0))
    uniform = world.coordinates(z)
    torch.testing.assert_close(uniform, world.coordinates(7 * z))
    assert (uniform.mean(dim=0) - 0.5).abs().max() < 0.03
    correlation = torch.corrcoef(uniform.T) - torch.eye(world.Z_DIM)
    assert correlation.abs().max() < 0.1
    factors = world.factors_of(z)
    assert factors.shape == (4000, len(FACTORS)) and factors.min() >= 0 and factors.max() <= 1


def test_scorer_reads_renders(factor_scorer):
    assert scorer.errors(factor_scorer, count=256).mean() < 0.06


def test_clip_tells_the_poles_apart():
    right, alignment = train_clip.evaluate(str(CLIP_FILES["clip_portraits64"]), seed=1, count=30)
    assert right.mean() > 0.93
    assert (alignment.argmax(dim=1) == torch.arange(len(POLES))).all()


@pytest.fixture(scope="module")
def asked(factor_scorer):
    return ranges(factor_scorer, world.to_float(world.draw_pairs(1000, seed=10)[1]))


@pytest.mark.parametrize("name", ["stylegan2_portraits64", "pggan_portraits64"])
def test_generator_makes_the_portraits_its_codes_stand_for(name, factor_scorer, asked):
    images = samples(name, 1000)
    covered = coverage(ranges(factor_scorer, images), asked)
    assert covered.min() >= 0.7, FACTORS[covered.argmin()]
    z = torch.randn(1000, world.Z_DIM, generator=torch.Generator().manual_seed(11))
    for factor, wanted, found in zip(FACTORS, world.factors_of(z).T, factor_scorer(images).T):
        assert torch.corrcoef(torch.stack([wanted, found]))[0, 1] > 0.7, factor


def test_biggan_shows_the_class_and_the_portrait_of_its_codes(factor_scorer):
    generator, (z, classes) = load_generator("biggan_portraits64"), class_world.draw_codes(1000, seed=11)
    assert generator.names() == class_world.NAMES and CLIP_OF["biggan_portraits64"] == "clip_portraits64"
    with torch.no_grad():
        images = images_of(generator, z, classes=classes)
        found = factor_scorer(images)
    wanted = class_world.factors_of(z, classes)
    glasses = FACTORS.index("glasses")
    assert ((found[:, glasses] > 0.5) == (wanted[:, glasses] > 0.5)).float().mean() > 0.99
    corner = images[:, :, :6, :6].mean(dim=(2, 3))  # of the background
    shades = torch.stack([corner[classes % len(class_world.BACKGROUNDS) == k].mean(dim=0) for k in range(4)])
    red, yellow, green, blue = (shade - shade.mean() for shade in shades)
    assert red.argmax() == 0 and green.argmax() == 1 and blue.argmax() == 2 and yellow.argmin() == 2
    for name in (name for part in class_world.PARTS for name in part):
        at = FACTORS.index(name)
        assert torch.corrcoef(torch.stack([wanted[:, at], found[:, at]]))[0, 1] > 0.6, name


def test_coverage_of_ranges():
    reached, asked = torch.tensor([[0.0, 0.4], [0.5, 0.6]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(coverage(reached, asked), torch.tensor([0.5, 0.2]))


def test_training_goes_on_from_its_checkpoint(tmp_path):
    def training(total, start=None):
        return Training("pggan", tmp_path / "pggan.pt", total, start, done=0)

    first = training(100, "pggan_portraits64")
    for _ in range(2):
        first.step(images_of(first.generator, torch.ones(8, world.Z_DIM), 16).square().mean(), batch=8, rate=1e-3)
    first.save()
    again, longer = training(100), training(200)
    assert (again.done, again.begun, longer.done, longer.begun) == (16, 0, 16, 16)
    for name, weights in first.generator.state_dict().items():
        assert torch.equal(weights, again.generator.state_dict()[name]), name
    released = load_generator(tmp_path / "pggan_portraits64.pth").state_dict()
    for name, weights in first.average.state_dict().items():
        torch.testing.assert_close(released[name], weights.half().float())


def test_critic_learns_to_tell_renders_from_other_images():
    torch.manual_seed(0)
    renders, critic = world.to_float(world.draw_pairs(16, seed=12)[1]), Critic()
    blurred = torch.nn.functional.avg_pool2d(renders, 5, 1, 2)
    for _ in range(30):
        critic.learn(blurred, renders)
    assert critic.loss(renders) < critic.loss(blurred) - 0.5


# --- the population with classes, and the BigGAN that learns it


def test_class_decides_what_it_names_and_z_the_rest():
    z = torch.randn(2000, class_world.Z_DIM, generator=torch.Generator().manual_seed(0))
    factors = class_world.factors_of(z, torch.arange(2000) % len(class_world.CLASSES))
    assert factors.min() >= 0 and factors.max() <= 1
    for k, facts in enumerate(class_world.CLASSES):
        for name, value in facts.items():
            assert (factors[k :: len(class_world.CLASSES), FACTORS.index(name)] == torch.tensor(value)).all()
    others = [i for i, name in enumerate(FACTORS) if name not in class_world.CLASSES[0]]
    assert torch.equal(factors[:, others], class_world.factors_of(z, torch.zeros(2000, dtype=torch.long))[:, others])
    assert (factors[:, others].std(dim=0) > 0.05).all()
    assert (torch.corrcoef(factors[:, others].T) - torch.eye(len(others))).abs().max() < 0.1


def test_each_part_of_z_decides_its_own_factors():
    z = torch.randn(8, class_world.Z_DIM, generator=torch.Generator().manual_seed(0))
    classes = torch.zeros(8, dtype=torch.long)
    before = class_world.factors_of(z, classes)
    for i, names in enumerate(class_world.PARTS):
        changed = z.clone()
        changed[:, i * class_world.PART : (i + 1) * class_world.PART].neg_()
        moved = (class_world.factors_of(changed, classes) != before).any(dim=0)
        assert {name for name, moves in zip(FACTORS, moved) if moves} == set(names)


def test_stored_statistics_of_a_batch_are_what_the_batch_is_normalised_by():
    torch.manual_seed(0)
    generator = build("biggan")
    codes = batch_norm.random_codes(generator, 16)
    hooks = batch_norm.with_batch_statistics(generator)
    with torch.no_grad():
        expected = generator(codes)
        for hook in hooks:
            hook.remove()
        assert (generator(codes) - expected).abs().max() > 0.1
        batch_norm.standardise(generator, codes)
        torch.testing.assert_close(generator(codes), expected, rtol=0, atol=1e-4)


def test_training_of_the_biggan_settles_its_statistics_and_goes_on(tmp_path, monkeypatch):
    few = batch_norm.random_codes
    monkeypatch.setattr(batch_norm, "random_codes", lambda generator: few(generator, 8))

    def training(total=40):
        return Training("biggan", tmp_path / "biggan.pt", total, start=None, done=0)

    def step(training):
        training.settle_statistics()
        z, classes = torch.randn(8, class_world.Z_DIM), torch.arange(8)
        training.step(images_of(training.generator, z, classes=classes).square().mean(), batch=8, rate=1e-3)

    first = training()
    step(first)
    assert first.hooks and not first.settled
    first.save()
    while first.done <= BATCH_STATISTICS_UNTIL * first.total:
        step(first)
    assert first.settled and all(not module._forward_pre_hooks for module in first.generator.modules())
    first.save()
    again = training()
    assert again.settled and again.done == first.done
    torch.testing.assert_close(again.generator.state_dict(), first.generator.state_dict(), rtol=0, atol=0)
    released = load_generator(tmp_path / "biggan_portraits64.pth")
    assert released.names()[4:6] == ["glasses on red", "glasses on yellow"] and released.resolution == 64
