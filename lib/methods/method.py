"""The seam between trainer and methods: what the rest of the code knows of a method.

In each iteration i, a training run calls

    batch = draw(i)                 a function of (seed, i) alone
    ends = ends(batch)              [codes, ..] to look at, with a graph down to `trained`, or without
    seen = see(codes, batch)        for each end, in parts: first without a graph and later with one
    loss(seen, ends, batch)         of the whole batch, gathered from all processes

and sends the gradient of the loss back to the ends, part by part, and from there to `trained` in one go.
"""

from functools import cached_property

from lib.settings import TrainingSettings
from models.errors import UserError


class Method:
    """A method with the usual choices: straight lines, random at first, trained by Adam. A subclass defines at least
    `experiment_name`, `ends` and `loss`.

    settings: the `Settings` of the run. space: one of `lib.latent_space`. labels: one for each path, either a pair of
    sentences, where positive shifts lead to the first one, or a name such as "direction 7".
    trained: the `torch.nn.Module` that is optimised and checkpointed.
    paths: what a walk calls, a `lib.paths.paths.Paths`.
    """

    Settings = TrainingSettings  # or a subclass with the method's own fields
    reads_corpus = False  # whether it learns from --corpus and needs a CLIP
    spaces = ("Z", "W", "W+", "S")  # that it works in, the default first
    unused = ()  # settings of `TrainingSettings` whose flags it does not use

    def __init__(self, settings, space, labels):
        self.settings, self.space, self.labels = settings, space, labels

    # --- before anything is loaded

    @staticmethod
    def add_arguments(parser):
        """Add a group of this method's own flags to an `argparse.ArgumentParser`."""

    @staticmethod
    def defaults(given, family):
        """{name: value} of a new run's flags, where they differ from those of `Settings`. given: the flags that are.
        family: the generator's, or None while it is not known."""
        return {}

    @staticmethod
    def check(settings):
        """Raise UserError if settings contradict each other."""

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """The directory's name. gan, corpus: their short names; corpus is None if the method does not read one."""
        raise NotImplementedError

    @classmethod
    def find_labels(cls, settings):
        """A label for each path: by default, the dipoles of the corpus. Raises UserError if there are none."""
        from lib.dipoles import load_corpus

        return load_corpus(settings.corpus)

    @staticmethod
    def batch_size(settings, num_paths):
        """The batch size of a run that does not say."""
        return settings.batch_size

    @staticmethod
    def weights_file(settings):
        """The file of the trained paths, below the experiment's models/."""
        return "paths.pt"

    @classmethod
    def space_of(cls, settings, space):
        """The space that paths run in, from the one that the settings name, when a run begins and when it is opened.
        Raises UserError where the method cannot work in it."""
        return space

    @staticmethod
    def walk_length(settings):
        """How far from a code a walk goes in either direction if it is not said, in units of the space; None: as the
        authors' walks. settings: of a run that has ended."""
        return None

    @classmethod
    def read_published(cls, path):
        """A `lib.methods.published.Published` of what the published project left at a file or directory; None where it
        is something else. Raises UserError where it is this project's and cannot be read."""
        return None

    # --- a run

    @classmethod
    def build(cls, settings, space, labels, device):
        """The method with everything that it needs besides the generator; `trained` is not made yet."""
        return cls(settings, space, labels)

    def describe_corpus(self):
        """A table, as text, of what the sentences ask of the generator, for methods whose start is found from them."""
        raise UserError("--check-corpus goes with --method=contraclip or text")

    def facts(self):
        """{name: value} of the facts among the settings that are known once it is built."""
        return {}

    @cached_property
    def radius(self):
        """The Jung radius of the space, as it was when the run began."""
        from lib.latent_space import jung_radius

        return getattr(self.settings, "jung_radius", None) or jung_radius(self.space, self.settings.seed)

    def begin(self):
        """Make `trained` for a new run. Returns {name: value} of the facts that were measured for it."""
        from lib.draws import generator_for
        from lib.paths.lines import Lines

        self.trained = Lines.random(len(self.labels), self.space.dim, generator_for(self.settings.seed, 2, 0))
        return {}

    def begin_roughly(self):
        """Make `trained` with the shapes that `begin` gives it, whatever its values, and return True, where `begin`
        takes long: the memory of a step is measured with it before. By default, nothing is made."""
        return False

    def restore(self, state, source):
        """Make `trained` from the state dict that it had after `begin`. Raises UserError, naming `source`, if that does
        not fit."""
        self.trained = self.load_paths(state, self.space, source)

    @classmethod
    def load_paths(cls, state, space, source):
        """The `paths` of a finished run, from the content of its file of weights. Raises UserError, naming `source`, if
        that does not fit."""
        from lib.paths.lines import Lines

        return Lines.from_state(state, space.dim, source).to(space.device)

    @property
    def paths(self):
        return self.trained

    def result(self):
        """The state dict of the paths that training has come to, as `load_paths` takes it."""
        return self.trained.state_dict()

    def other_weights(self):
        """{name of a file below models/: state dict} of what was trained besides the paths."""
        return {}

    # --- an iteration

    def draw(self, iteration):
        """The batch of an iteration: tensors, or tuples and dicts of them; here z (B, z_dim), path indices (B,)."""
        from lib.draws import codes_of, paths_of

        batch_size, seed = self.settings.batch_size, self.settings.seed
        z = codes_of(iteration, batch_size, self.space.generator.z_dim, seed)
        return z, paths_of(iteration, batch_size, len(self.labels), seed)

    def ends(self, batch):
        raise NotImplementedError

    def see(self, codes, batch):
        """Codes of one end -> features, a tensor or a tuple of tensors. Row b depends on row b of the codes alone.

        `codes.requires_grad` says whether the end has a graph, for methods that look at those without in another way.
        """
        return self.space.synthesise(codes)

    def loss(self, seen, ends, batch):
        """A scalar. seen: for each end, what `see` returned for all of its codes. ends: the codes themselves."""
        raise NotImplementedError

    def optimizer(self):
        """A group of parameters with a "rate" learns that many times as fast as `learning_rate` says."""
        import torch

        return torch.optim.Adam(self.trained.parameters(), lr=self.settings.lr)

    def learning_rate(self, iteration):
        return self.settings.lr

    def updated(self, iteration):
        """Called when the weights have taken the step of an iteration."""


def tensors_of(state, expected, source):
    """The tensors of a run's start, as `models.untrusted.shapes.checked` gives them. Raises UserError, naming
    `source`, where they do not fit."""
    from models.untrusted.shapes import Misfit, checked

    try:
        return checked(state, expected)
    except Misfit as misfit:
        raise UserError(f"{source} is not a start of this run, it {misfit}: remove the run's directory to begin anew"
                        ) from None


def parts_of(state, source, *names):
    """{name: state dict of that part}, of a state dict whose keys are "name.key". Raises UserError, naming `source`,
    where it has other parts."""
    is_flat = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    keys = [key.partition(".") for key in state] if is_flat else [("", "", "")]
    if not {part for part, _, _ in keys} <= {*names}:
        raise UserError(f"{source} holds other weights than {' and '.join(names)}: remove the directory to begin anew")
    parts = {name: {} for name in names}
    for part, _, key in keys:
        parts[part][key] = state[f"{part}.{key}"]
    return parts
