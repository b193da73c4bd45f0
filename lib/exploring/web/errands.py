"""Works of a visitor that follow each other, as the page asks about them: how far they are, and what came of them."""


class Errand:
    """Steps that are begun one after another, each when the page asks and the one before has ended.

    steps: functions that begin a `lib.exploring.work.Work` and return it, or None where there is nothing to do.
    finish: a function of the last work's result, and its remarks, that returns what the page is told at the end.
    """

    def __init__(self, steps, finish):
        self._steps, self._finish = list(steps), finish
        self._work, self._result, self._remarks = None, None, []

    def answer(self, patience):
        """{"work": {"doing", "share"}} if it still goes on after `patience` seconds, or what `finish` returned.

        Raises what a step raised, such as UserError.
        """
        while self._work is not None or self._steps:
            if self._work is None:
                self._work = self._steps.pop(0)()
                continue
            if not self._work.wait(patience):
                return {"work": {"doing": self._work.doing, "share": self._work.share}}
            ended, self._work = self._work, None
            self._result, self._remarks = ended.result(), [*self._remarks, *ended.remarks]
        return self._finish(self._result, self._remarks)

    def stop(self):
        """Stop the step that goes on, and begin no other."""
        self._steps = []
        if self._work is not None:
            self._work.stop()
