"""Writes a run's statistics for TensorBoard, into tensorboard/ of its directory. Needs requirements-tensorboard.txt."""

from lib.training.trainer import Watcher
from models.errors import UserError


class TensorBoard(Watcher):
    def __init__(self, experiment):
        """experiment: claimed. Raises UserError where the package is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("--tensorboard needs a package that is not installed here: pip install -r "
                            "requirements-tensorboard.txt") from None
        self.experiment, self.writer_of = experiment, SummaryWriter

    def begun(self, iteration, stats):
        """What an earlier process wrote beyond its last checkpoint is not shown."""
        self.writer = self.writer_of(str(self.experiment.directory / "tensorboard"), purge_step=iteration + 1)

    def logged(self, iteration, stats):
        for name, value in stats[iteration].items():
            self.writer.add_scalar(name, value, iteration)

    def saved(self, iteration, stats):
        self.writer.flush()

    def ended(self, iteration, stats):
        self.writer.close()
