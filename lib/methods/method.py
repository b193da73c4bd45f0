"""What every method is to the rest: the seam between trainer and methods.

A training run asks, for each iteration i:

    batch = draw(i)                 a function of (seed, i) alone
    ends = ends(batch)              [codes, ..] to be looked at, with a graph down to `trained`, or without
    seen = see(codes, batch)        of each end's codes, in parts, without a graph first and with one later
    loss(seen, ends, batch)         of the whole batch, gathered from all processes

and sends the loss' gradient back part by part to the ends, and from these to `trained` in one go.
"""

from typing import ClassVar

from lib.settings import TrainingSettings


class Method:
    """A method with the usual choices: straight lines, from random ones, by Adam. A subclass has at least a name for
    its experiments, `ends` and `loss`.

    settings: the `Settings` of the run. space: a `lib.latent_space` one. labels: one for each path, either a pair of
    sentences, of which the first is where positive shifts lead, or a name such as "direction 7".
    trained: the `torch.nn.Module` that is optimised and checkpointed.
    paths: what a walk asks, a `lib.paths.paths.Paths`.
    """

    Settings = TrainingSettings  # with the method's own fields
    DEFAULTS: ClassVar = {}  # of its flags for a new run, where they are not those of `Settings`
    unused = ()  # settings of `TrainingSettings` whose flags have no use
    reads_corpus = False  # whether it learns from --corpus and needs a CLIP
    weights = "paths.pt"  # the file of its trained paths, below the experiment's models/
    spaces = ("Z", "W", "W+", "S")  # that it works in

    def __init__(self, settings, space, labels):
        self.settings, self.space, self.labels = settings, space, labels

    # --- before anything is loaded

    @staticmethod
    def add_arguments(parser):
        """Add a group of this method's own flags to an `argparse.ArgumentParser`."""

    @staticmethod
    def check(settings):
        """Raise UserError where settings contradict each other."""

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """The directory's name. gan, corpus: their short names; corpus is None where the method reads none."""
        raise NotImplementedError

    @classmethod
    def find_labels(cls, settings):
        """A label for each path: by default the corpus' dipoles. Raises UserError where there are none."""
        from lib.dipoles import load_corpus

        return load_corpus(settings.corpus)

    @classmethod
    def space_of(cls, settings, space):
        """The space that paths run in, from the one that the settings name, when a run begins and when it is opened.
        Raises UserError where the method cannot work in it."""
        return space

    @classmethod
    def read_published(cls, path):
        """A `lib.methods.published.Published` of what the published project left at a file or directory; None where it
        is something else. Raises UserError where it is this project's and cannot be read."""
        return None

    # --- a run

    @classmethod
    def build(cls, settings, space, labels, device):
        """The method with all that it needs besides the generator; nothing of it is trained yet."""
        return cls(settings, space, labels)

    def facts(self):
        """{name: value} of the settings' facts that are known once it is built."""
        return {}

    def begin(self):
        """Make `trained` for a new run; returns {name: value} of the facts that were measured for it."""
        from lib.draws import generator_for
        from lib.paths.lines import Lines

        self.trained = Lines.random(len(self.labels), self.space.dim, generator_for(self.settings.seed, 2, 0))
        return {}

    def restore(self, state, source):
        """Make `trained` from its state dict as `begin` left it. Raises UserError, naming `source`, where it does not
        fit."""
        self.trained = self.load_paths(state, self.space, source)

    @classmethod
    def load_paths(cls, state, space, source):
        """The `paths` of a finished run, from the content of its weights' file. Raises UserError, naming `source`."""
        from lib.paths.lines import Lines

        return Lines.from_state(state, space.dim, source).to(space.device)

    @property
    def paths(self):
        return self.trained

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
        """Codes of one end -> features, a tensor or a tuple of tensors whose row b depends on row b of the codes.

        `codes.requires_grad` says whether this end has a graph, where those without are to be seen otherwise.
        """
        return self.space.synthesise(codes)

    def loss(self, seen, ends, batch):
        """A scalar. seen: for each end what `see` gave of all its codes; ends: the codes themselves."""
        raise NotImplementedError

    def optimizer(self):
        import torch

        return torch.optim.Adam(self.trained.parameters(), lr=self.settings.lr)

    def learning_rate(self, iteration):
        return self.settings.lr
