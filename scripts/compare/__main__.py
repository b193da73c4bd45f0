"""Train every method within one budget of processor time, measure all on codes that no tuning saw, and write the table.

    python -m scripts.compare                       everything that is not in scripts/compare/results.json yet
    python -m scripts.compare --results new.json    everything anew
    python -m scripts.compare --list                what is there, and what is still to be done
    python -m scripts.compare --write               the table, plots and pictures alone

It can be stopped at any time: run it again to go on. Several processes in one directory share the work; each runs on
one thread. Trained experiments are kept in experiments/compare; the figures, in the file of results.
"""

import argparse
import fcntl
import time
from contextlib import contextmanager
from pathlib import Path

from lib.command_line import run
from models.errors import UserError
from scripts.compare import schedule, tables, training
from scripts.compare.contenders import CONTENDERS
from scripts.compare.results import FILE, Results
from scripts.compare.worlds import WORLDS

TUNING_SEED, FRESH_SEED = 32, 20_000
DOCS = training.REPOSITORY / "docs"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m scripts.compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--world", nargs="+", choices=WORLDS, default=["stylegan2_portraits64", "pggan_portraits64"])
    parser.add_argument("--method", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of training (default: 0 1 2)")
    parser.add_argument("--factors", nargs="*", type=float, default=list(schedule.FACTORS),
                        help="of the budget, for the curves of leak against time (default: 0.5 2 4)")
    parser.add_argument("--budget", type=float, default=60, help="processor seconds of a training run (default: 60)")
    parser.add_argument("--clock", action="store_true", help="the clock's seconds instead of a core's, as for a GPU")
    parser.add_argument("--codes", type=int, default=64, help="fresh ones, of seed 20000 (default: 64)")
    parser.add_argument("--tuning-codes", type=int, default=16, help="of seed 32 (default: 16)")
    parser.add_argument("--samples", type=int, default=2000, help="of the generator, for the numbers' ranges")
    parser.add_argument("--results", type=Path, default=FILE, help="file (default: scripts/compare/results.json)")
    parser.add_argument("--work", type=Path, default=Path("experiments/compare"), help="where experiments are kept")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where table, plots and pictures go (default: docs)")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many minutes")
    parser.add_argument("--list", action="store_true", help="say what is there and what is not, and end")
    parser.add_argument("--write", action="store_true", help="write table, plots and pictures, and end")
    return parser.parse_args(arguments)


class Comparison:
    """Does steps of a schedule, each unless it is done or another process is at it."""

    def __init__(self, args):
        self.args, self.work, self.measures = args, args.work.resolve(), {}
        conditions = {name: getattr(args, name) for name in ("budget", "clock", "codes", "tuning_codes", "samples")}
        self.results = Results(args.results, conditions, self.work / "results.lock")

    def steps(self):
        args = self.args
        return schedule.steps(self.results, args.world, args.method, args.seeds, args.factors)

    def is_done(self, step):
        result = self.results.get(step.run.key) or {}
        return "failed" in result or ("tuning" in result and ("report" in result or not step.report))

    def open_steps(self):
        """(those that can be done now, how many cannot, as they depend on these). No step stands there twice."""
        known = list(self.steps())
        ready = [step for step in dict.fromkeys(known) if step and not self.is_done(step)]
        return ready, sum(step is None for step in known)

    def go(self):
        """Do what there is to be done. Returns how many steps are left."""
        end = time.monotonic() + 60 * (self.args.minutes or float("inf"))
        while time.monotonic() < end:
            ready, waiting = self.open_steps()
            if not ready and not waiting:
                break
            if not any(self.attempt(step) for step in ready):
                if not ready:  # what the others wait for has failed
                    break
                time.sleep(2)  # other processes are at all of them
        ready, waiting = self.open_steps()
        return len(ready) + waiting

    def attempt(self, step):
        """Do a step, unless another process is at it. Returns whether it was done."""
        contender = CONTENDERS[step.run.contender]
        shared = f"{step.run.contender}-seed{step.run.seed}" if contender.keeps else training.name_of(step.run)
        with _claimed(self.directory(step.run) / f"{shared}.lock") as is_ours:
            if not is_ours:
                return False
            self.results.read()
            if not self.is_done(step):
                print(f"{time.strftime('%H:%M:%S')} {step.run.key}", flush=True)
                self.do(step)
        return True

    def do(self, step):
        """Train, and measure what is not measured yet. What train.py refuses is a result too."""
        run, result = step.run, self.results.get(step.run.key) or {}
        try:
            if "tuning" not in result:
                result = result | self.tune(run)
            if step.report and "report" not in result:
                result = result | self.report(run, result["tuning"])
        except UserError as error:
            self.results.add(run.key, {"failed": str(error)})
            print(f"    {error}", flush=True)

    def directory(self, run):
        return self.work / run.world / run.contender

    def train(self, run, pool, only_kept=False):
        per_code = CONTENDERS[run.contender].per_code
        return training.train(run, self.directory(run), self.results, pool if per_code else None, only_kept)

    def tune(self, run):
        pool, sources = self.pool(run, TUNING_SEED, self.args.tuning_codes)
        directory, facts = self.train(run, pool)
        found = {"trained": facts, "tuning": self.measure(run.world).tuning(run.contender, directory, sources)}
        self.results.add(run.key, found)
        print(f"    {facts['seconds']:.0f} s, {facts['iterations']} iterations; on tuning codes leak "
              f"{found['tuning']['score']:.3f}, own effect {found['tuning']['own_effect']:.2f}", flush=True)
        return found

    def report(self, run, tuning):
        pool, sources = self.pool(run, FRESH_SEED, self.args.codes)
        directory, facts = self.train(run, pool)
        home = self.directory(run) / f"measured-{training.name_of(run)}"
        report = self.measure(run.world).report(run.key, directory, tuning["candidates"], pool.name, sources, home)
        found = {"trained": facts, "report": report}
        self.results.add(run.key, found)
        print(f"    leak {report['mean']['leak']['value']:.3f}, own effect "
              f"{report['mean']['own_effect']['value']:.2f}", flush=True)
        return found

    def measure(self, world):
        from scripts.compare.measuring import Measure

        if world not in self.measures:
            self.measures[world] = Measure(world, self.args.samples)
        return self.measures[world]

    def pool(self, run, seed, count):
        """A pool of codes for a run, and the codes' directories: all of them, or as many as it edits."""
        from lib.pools import code_directories
        from scripts.compare.pools import first_of, pool_of

        per_code = CONTENDERS[run.contender].per_code
        pool = pool_of(self.work / run.world, WORLDS[run.world], seed, count)
        pool = first_of(pool, per_code) if per_code and per_code < count else pool
        return pool, code_directories(pool)

    def write(self):
        """Write the table into comparison.md, a plot and a picture for each world."""
        args = self.args
        for world in args.world:
            rows = tables.rows_of(self.results, world, args.method, args.seeds)
            tables.put_in(args.docs / "comparison.md", world, tables.markdown(rows))
            plot = args.docs / f"comparison_{world}.png"
            tables.plot(self.results, world, args.method, args.seeds, args.factors, plot)
            self.write_picture(world)

    def write_picture(self, world):
        """A row for each method whose experiment is kept. Where there is none, the picture that is there stays."""
        from scripts.compare import picture

        path = self.measure(world).dipoles.index(WORLDS[world].meaning)
        rows, file = {}, self.args.docs / f"comparison_{world}.jpg"
        for name in schedule.contenders_in(world, self.args.method):
            chosen = schedule.best_setting(self.results, world, name) or schedule.PUBLISHED
            found = self.results.get(schedule.Run(world, name, chosen, self.args.seeds[0]).key) or {}
            images = self.frames(world, name, chosen, found, path) if "report" in found else None
            if images is not None:
                rows[CONTENDERS[name].title] = images
            elif "report" in found:
                print(f"{file} lacks {CONTENDERS[name].title}, whose experiment is not in {self.work}")
        if rows:
            first, second = self.measure(world).asked[path]
            picture.save(picture.sheet(rows, (second, first)), file)
        else:
            print(f"{file} is left as it is")

    def frames(self, world, name, setting, found, path):
        """The images of a picture's row, or None where the experiment is not kept."""
        from scripts.compare.picture import frames

        run = schedule.Run(world, name, setting, self.args.seeds[0])
        if not self.directory(run).is_dir():
            return None
        pool, sources = self.pool(run, FRESH_SEED, self.args.codes)
        kept = self.train(run, pool, only_kept=True)
        device = self.measure(world).device
        return kept and frames(kept[0], WORLDS[world].gan, found["tuning"]["candidates"], path, sources[0], device)

    def say(self):
        """What is there, and what is still to be done."""
        for step in filter(None, dict.fromkeys(self.steps())):
            print("done" if self.is_done(step) else "open", step.run.key, "report" if step.report else "tuning")


@contextmanager
def _claimed(file):
    """Whether no other process holds this file; then it is held."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def main(arguments):
    args = parse(arguments)
    import torch

    torch.set_num_threads(1)
    comparison = Comparison(args)
    if args.list:
        comparison.say()
        return
    left = 0 if args.write else comparison.go()
    if left:
        print(f"{left} steps are left: run the same command again")
        return
    comparison.write()


if __name__ == "__main__":
    run(main)
