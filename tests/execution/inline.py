"""A pool without processes: the same interface, the work done in `collect`. For tests of what the parent does."""

from harness.core.errors import InputError, SamplingError
from harness.execution.executors.processes import Failed, Finished
from harness.execution.worker import run_task


class InlinePool:
    """Runs tasks one by one in this process."""

    def __init__(self, devices):
        self.waiting, self.size = {}, len(devices)

    @property
    def free(self):
        return self.size - len(self.waiting)

    @property
    def busy(self):
        return len(self.waiting)

    def submit(self, ticket, task):
        assert self.free > 0
        assert ticket not in self.waiting
        self.waiting[ticket] = task

    def collect(self, timeout):
        if not self.waiting:
            return []
        ticket = next(iter(self.waiting))
        task = self.waiting.pop(ticket)
        try:
            return [Finished(ticket, run_task(task, "cpu"))]
        except SamplingError as error:
            return [Finished(ticket, Failed(error.reason, error.step))]
        except InputError as error:
            return [Finished(ticket, Failed(str(error), None))]

    def close(self):
        self.waiting.clear()
