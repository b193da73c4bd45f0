"""Opening a trained experiment, for every command that walks paths, and for a notebook.

    experiment = open_experiment("latest")
    codes = experiment.sample(4, seed=0)
    pictures = experiment.pictures(experiment.shift(codes, {0: 1.5, 3: -2.0}))
    said = experiment.say([("a person with glasses.", "a person without glasses.")])
    pictures = said.pictures(said.shift(codes, {0: said.step(1)}))
"""

import math
import shlex
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lib.arguments import Share
from lib.config import CLIP_OF, COMPLETE, CORPORA, DEFAULT_CLIP
from lib.dipoles import load_corpus
from lib.experiment import labels_file
from lib.files import check_generator, read_json
from lib.latent_space import jung_radius, latent_space
from lib.methods import METHODS, find_method
from lib.methods.direction_files import paths_of, read_directions, space_of
from lib.methods.published import find_published
from lib.paths.lines import Lines
from lib.paths.tracing import follow
from lib.pixels import to_uint8
from lib.settings import GeneratorSettings, TrainingSettings, WalkSettings, read_object
from models import directories
from models.errors import UserError, one_line, quoted
from models.files import sha256
from models.load_generator import generator_file, generator_name, load_generator
from models.registry import GENERATORS, family_of, is_own_code
from models.untrusted.tensor_files import load_tensors

LATEST = "latest"
STEPS = 16  # in which a walk that does not say follows a path
# The settings that decide the paths' space.
SPACE = ("gan", "stylegan_space", "stylegan_layer", "truncation", "biggan_target_classes")


@dataclass(frozen=True)
class Trained:
    """An experiment's generator (frozen), the space of its paths, the paths with their labels, and its settings.

    paths: (positions (B, dim), path indices (B,)) -> unit directions (B, dim). labels: pairs of sentences, where
    positive shifts lead to the first one, or names. weights: the file of the paths; None: they have none.
    """

    directory: Path
    generator: Any
    space: Any
    paths: Any
    labels: list
    settings: TrainingSettings
    weights: Path | None

    @torch.no_grad()
    def sample(self, number=1, seed=0):
        """Random codes (number, ...) of the space, the same for the same seed: those of sample_gan.py --seed."""
        z = torch.randn(number, self.generator.z_dim, generator=torch.Generator().manual_seed(seed))
        return self.space.codes_of(z.to(self.space.device))

    def offsets(self, codes, shifts):
        """How far codes (B, ...) are moved by shifts of some paths at once, {path number: shift}: (B, dim).

        Each path is followed from the codes by itself, and the offsets add, so that their order does not matter.
        """
        total = torch.zeros_like(self.space.positions(codes))
        for k, shift in sorted(shifts.items()):
            if not 0 <= k < len(self.labels):
                raise UserError(f"there is no path {k}: the paths are 0 to {len(self.labels) - 1}")
            steps = max(1, math.ceil(abs(shift) / self.step(STEPS)))
            total += follow(self.space, self.paths, codes, k, steps, abs(shift) / steps or 1.0).at(shift)
        return total

    @torch.no_grad()
    def shift(self, codes, shifts):
        """Codes (B, ...), each moved by shifts of some paths at once, {path number: shift}."""
        return self.space.shift(codes, self.offsets(codes, shifts))

    @torch.no_grad()
    def pictures(self, codes):
        """Codes (B, ...) -> their images, a list of PIL pictures."""
        return [Image.fromarray(to_uint8(self.space.synthesise(code))[0]) for code in codes.split(1)]

    def say(self, dipoles, progress=None):
        """Paths of new pairs of sentences, found from these alone (`lib.methods.own_sentences`), in a space like this
        one: a `Trained` that has no file.

        Positive shifts lead to a pair's first sentence. What is measured of the generator, once for all sentences, is
        kept; progress(images, of all) is told how far it is. Raises UserError where the CLIP does not tell the
        sentences, or is not there.
        """
        from lib.methods.own_sentences import OwnSentences

        sentences = OwnSentences(self.generator, self.settings, self.labels)
        sentences.prepare(progress)
        found = [sentences.find(*dipole) for dipole in dipoles]
        paths = Lines(torch.cat([one.start.directions for one in found])).to(self.space.device)
        length = sum(one.reach for one in found) / len(found)
        settings = replace(sentences.settings, walk_length=length, jung_radius=sentences.radius)
        labels = [one.dipole for one in found]
        return Trained(self.directory, self.generator, sentences.space, paths, labels, settings, weights=None)

    @cached_property
    def radius(self):
        """The Jung radius of the space: as it was measured for the training, or now."""
        return getattr(self.settings, "jung_radius", None) or jung_radius(self.space, self.settings.seed)

    def length(self, given):
        """A length in units of the space, from a number or a `Share` of the Jung radius."""
        return float(f"{given.value * self.radius:.4g}") if isinstance(given, Share) else given

    def step(self, shift_steps):
        """The length of a step of a walk, if it is not said: with `shift_steps` of them it goes as far as the method
        has it."""
        method = self.settings.method
        length = find_method(method).walk_length(self.settings) if method in METHODS else None
        return WalkSettings.eps if length is None else float(f"{length / shift_steps:.2g}")


def find_experiment(name):
    """The directory of an experiment as a command names it: "latest" is the one that ended last.

    Raises UserError if none has ended, and if it is a directory of experiments.
    """
    if name != LATEST or Path(name).exists():
        directory = Path(name)
        held = sorted(file.parent.name for file in directory.glob("*/args.json"))
        if held and not (directory / "args.json").exists():
            raise UserError(f"{directory} holds experiments, and is none itself: name one of them, such as "
                            f"{directory / held[0]}, or say {LATEST}")
        return directory
    ended = {file.stat().st_mtime_ns: file.parent for file in COMPLETE.glob("*/stats.json")}
    if not ended:
        raise UserError(f"--exp={LATEST}: no experiment has ended in {COMPLETE}: train one, or name its directory")
    return ended[max(ended)]


def open_experiment(directory, gan=None, device="cpu", stylegan_space=None, like=None):
    """Open an experiment of ours or the authors', whether it has ended or not, or what a method's published project
    left: a directory or a file. gan: the generator, if none is named there, or its file, if that has moved, or its
    python:FILE:FUNCTION, which is run only if it is given here. stylegan_space: of a published file that names none.
    like: a `Trained` whose generator is taken, where it is this one's too, so that it is in memory once.

    Raises UserError if it is not an experiment, if it has no trained weights yet, if its generator has changed, or if
    its paths are in another space.
    """
    directory = find_experiment(directory)
    published = find_published(directory)
    if published:
        return _open_published(directory, published, gan, device, stylegan_space, like)
    settings = read_settings(directory)
    if stylegan_space not in (None, settings.stylegan_space):
        raise UserError(f"the paths of {directory} are in {settings.stylegan_space}: leave out --stylegan-space")
    _hold(directory)
    method = find_method(settings.method)
    labels, weights = read_labels(directory, settings), find_weights(directory, method.weights_file(settings))
    gan, gan_sha256 = _generator_of(directory, settings, gan)
    settings = replace(settings, gan=gan, gan_sha256=gan_sha256)
    generator = _loaded(gan, gan_sha256, device, like)
    space = latent_space(generator, settings.stylegan_space, settings.stylegan_layer, settings.truncation,
                         settings.biggan_target_classes)
    space = method.space_of(settings, space)
    paths = method.load_paths(load_tensors(weights), space, weights)
    if paths.num_paths != len(labels):
        raise UserError(f"{weights} has {paths.num_paths} paths, and {len(labels)} labels are stored beside it")
    return Trained(directory, generator, space, paths, labels, settings, weights)


def open_paths(experiment, given, device="cpu"):
    """Open the experiment, or the file of directions that `given` names: what `add_path_arguments` of
    `lib.command_line` asks for. Raises UserError as `open_experiment` and `open_directions`."""
    if given.directions is None:
        return open_experiment(experiment, given.gan, device, given.stylegan_space)
    return open_directions(given.directions, given.gan, device, given.stylegan_space, given.truncation)


def open_directions(file, gan=None, device="cpu", stylegan_space=None, truncation=None):
    """Open a file of directions, as `lib.methods.direction_files` reads it. stylegan_space, truncation: where the file
    does not say them. What is made of it lies beside it, in <file's stem>-<gan>-<space>-<truncation>, as one file may
    fit several of each.

    Raises UserError if it holds no directions, or none that fit the generator.
    """
    found = read_directions(file)
    if gan is None:
        raise UserError(f"{file} does not name a file of its generator: say where it is with --gan")
    sha256_now = sha256(generator_file(gan))
    if found.gan_sha256 not in (None, sha256_now):
        raise UserError(f"{file} has directions of another generator than {gan} (its SHA-256 begins with "
                        f"{found.gan_sha256[:12]}, this one's with {sha256_now[:12]}): give its own with --gan")
    generator = load_generator(gan, device)
    space = space_of(found, file, generator, stylegan_space, truncation)
    settings = TrainingSettings(method="directions", gan=str(gan), gan_sha256=sha256_now, stylegan_space=space.name,
                                stylegan_layer=space.layer, truncation=space.truncation)  # fmt: skip
    paths = paths_of(found).to(space.device)
    file = Path(file)
    directory = file.with_name(f"{file.stem}-{generator_name(gan)}-{space.name}-{space.truncation}")
    return Trained(directory, generator, space, paths, found.labels, settings, file)


def _open_published(path, published, gan, device, stylegan_space, like=None):
    """Open a `lib.methods.published.Published` run at `path`. What is made of a file's paths lies in a directory of the
    file's name, without its suffix; where the user names another space than the default one, that follows."""
    if gan is None:
        raise UserError(f"{path} does not name a file of its generator: say where it is with --gan")
    gan_sha256 = sha256(generator_file(gan))
    generator = _loaded(gan, gan_sha256, device, like)
    family, resolution = generator.family.name, generator.resolution
    if published.family not in (None, family) or published.resolution not in (None, resolution):
        said = [one for one in (published.family, published.resolution) if one is not None]
        stated = " of ".join(one_line(str(one), 30) for one in said)
        raise UserError(f"{path} was trained on a {stated}, and {gan} is a {family} of {resolution} px: give its own "
                        "with --gan")
    if stylegan_space not in (None, *published.spaces):
        raise UserError(f"{path} has paths in {' or '.join(published.spaces)}: leave out --stylegan-space")
    possible = published.spaces if stylegan_space is None else (stylegan_space,)
    name = next((name for name in possible if name in generator.family.spaces), None)
    if name is None:
        raise UserError(f"{path} has paths in {possible[0]}, which a {family} lacks: give its own with --gan")
    method, generator_is = find_method(published.method), {"gan": str(gan), "gan_sha256": gan_sha256}
    values = published.values | {"method": published.method, "stylegan_space": name} | generator_is
    settings = method.Settings.read(values, published.source, needed=SPACE)
    space = latent_space(generator, name, None, settings.truncation, settings.biggan_target_classes)
    space = method.space_of(settings, space)
    paths = method.load_paths(published.state, space, published.source)
    directory = path if path.is_dir() else path.with_suffix("")
    if name != next(one for one in published.spaces if one in generator.family.spaces):
        directory = directory / name if path.is_dir() else path.with_name(f"{path.stem}-{name}")
    _hold(directory)
    return Trained(directory, generator, space, paths, published.labels, settings, published.source)


def _loaded(gan, gan_sha256, device, like):
    """The generator of `like`, a `Trained` or None, where it is the same one; else it is loaded."""
    return like.generator if like and like.settings.gan_sha256 == gan_sha256 else load_generator(gan, device)


def open_text(gan, corpus, device="cpu", progress=None):
    """The paths that a corpus' sentences alone give in closed form, as train.py --method=text finds them: a `Trained`
    that has no file. progress(images, of all) is told how far the measuring for it is, if it was not done before.

    Raises UserError where the generator, the corpus or its CLIP cannot be opened, or the CLIP does not tell sentences.
    """
    method, labels = find_method("text"), load_corpus(corpus)
    generator = load_generator(gan, device)
    values = method.defaults({}, generator.family) | {
        "method": "text", "gan": str(gan), "gan_sha256": sha256(generator_file(gan)), "corpus": str(corpus),
        "clip_model": CLIP_OF.get(gan, DEFAULT_CLIP),
    }  # fmt: skip
    settings = method.Settings.of(values)
    space = latent_space(generator, settings.stylegan_space, settings.stylegan_layer, settings.truncation)
    made = method.build(settings, space, labels, device)
    made.response(made.radius, progress)
    settings = replace(settings, stylegan_layer=space.layer, **made.begin(), **made.facts())
    paths = method.load_paths(made.result(), space, corpus)
    return Trained(Path("."), generator, space, paths, labels, settings, weights=None)


def _hold(directory):
    """What is made of an experiment lands within its directory: no link is followed there. Raises UserError if the
    directory is a link itself."""
    if directory.is_symlink():
        raise directories.linked(directory)
    if directory.is_dir():
        directories.hold(directory)


def read_settings(directory):
    """The settings in an experiment's args.json, which any version of our code or the authors' may have written.

    Raises UserError if it is not an experiment's.
    """
    file = Path(directory) / "args.json"
    if Path(directory).is_file():
        raise UserError(f"{directory} is not a checkpoint that a method here can read: --exp is an experiment's "
                        "directory, and a file of directions goes with --directions")
    if not Path(directory).is_dir():
        raise UserError(f"{directory} is not a directory: give that of an experiment, such as those in {COMPLETE}")
    content = read_object(file)
    is_ours = "gan_sha256" in content
    content = content if is_ours else _from_authors(content, file)
    name = content.get("method", TrainingSettings.method)
    if name not in METHODS:
        raise UserError(f"{file} has method {quoted(name)}, which must be one of {', '.join(METHODS)}")
    return find_method(name).Settings.read(content, file, needed=None if is_ours else SPACE)


def _from_authors(content, file):
    """The content of an args.json of the authors', with the keys that older ones lack or spell differently."""
    gan = content.get("gan", content.get("gan_type"))
    if not isinstance(gan, str):
        raise UserError(f"{file} does not name a generator (gan): it does not belong to an experiment")
    content = {key: value for key, value in content.items() if value is not None} | {"gan": gan}
    family = family_of(gan)
    if family and len(family.spaces) == 1:  # the authors' file may say something else, which their code ignored
        content |= {"stylegan_space": family.spaces[0]} | ({} if family.truncates else {"truncation": 1.0})
    return content


def read_labels(directory, settings):
    """The paths' labels: the experiment's own list, or if it has none, those of its corpus."""
    names = directory / "models" / labels_file([""])
    if names.is_file():
        labels = read_json(names)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise UserError(f"{names} is not a list of names: it was damaged or edited")
        return labels
    dipoles, corpus = directory / "models" / labels_file([]), getattr(settings, "corpus", None)
    if not dipoles.is_file() and corpus in CORPORA:
        return load_corpus(corpus)
    labels = read_json(dipoles)
    if not isinstance(labels, list) or not all(_is_dipole(poles) for poles in labels):
        raise UserError(f"{dipoles} is not a list of pairs of sentences: it was damaged or edited")
    return [tuple(poles) for poles in labels]


def _is_dipole(poles):
    return isinstance(poles, list) and len(poles) == 2 and all(isinstance(pole, str) for pole in poles)


def find_weights(directory, name):
    """The file of the trained paths. The authors' code also leaves latent_support_sets-<iteration>.pt."""
    weights = directory / "models" / name
    if weights.is_file():
        return weights
    earlier = sorted(weights.parent.glob(f"{weights.stem}-*.pt"), key=lambda file: (len(file.name), file.name))
    if not earlier:
        raise UserError(f"{weights} is missing, as the training has not ended: run the experiment's command.sh again")
    return earlier[-1]


def check_named(stored, given, directory):
    """Raise UserError where an experiment's generator is code, which would be run, that the user has not named too.

    stored: the generator in the experiment's settings. given: what the user named; None: nothing.
    """
    if is_own_code(stored) and not (given and is_own_code(given)):
        name = shlex.quote(f"--gan={stored}") if stored.isprintable() else repr(f"--gan={stored}")
        raise UserError(f"the generator of {directory} is code that would be run: if you trust it, name it with {name}")


def _generator_of(directory, settings, given):
    """(name or file, SHA-256) of an experiment's generator, which must be the one that it was trained on."""
    gan = given or settings.gan
    check_named(settings.gan, given, directory)
    if not given and gan not in GENERATORS and not Path(gan).is_file():
        raise UserError(f"{gan}, the generator of {directory}, is missing: say where it is now with --gan")
    if generator_name(gan) != generator_name(settings.gan):
        raise UserError(f"--gan {gan} does not have the name of the generator of {directory}, {settings.gan}: rename "
                        "it if it is the same")
    now = GeneratorSettings(gan=str(gan), gan_sha256=sha256(generator_file(gan)))
    check_generator(settings, now, directory)
    return now.gan, now.gan_sha256
