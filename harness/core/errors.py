"""Errors that are the user's to mend: one message with the rule, the value and the remedy, and no traceback."""


class InputError(Exception):
    """Something the user gave cannot be used. The command line prints the message and exits with code 2."""


NOT_FINITE = "the state is not finite (NaN or infinity)"
"""Reason of a `SamplingError`, whichever solver comes upon it."""


class SamplingError(RuntimeError):
    """A trial went wrong while it ran (say, a non-finite value). Recorded as a failed row with its step.

    Args:
        reason: what happened, in words for the row.
        step: index of the sampler's step, from 0; None where it is not tied to one.
    """

    def __init__(self, reason: str, step: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step

    def __reduce__(self) -> tuple[type, tuple[str, int | None]]:
        return type(self), (self.reason, self.step)


class RunError(Exception):
    """A run had to stop (the disk is full, the store went away). What was stored is safe. Exit code 1."""


class MachineError(RunError):
    """A task could not be done because of the machine: memory, a worker that died, a file that is away.

    It says nothing of the trial, so nothing is stored as failed, and the next run tries the task again.
    """


class WorkerStartError(RunError):
    """Worker processes cannot start here. The run stops: no other task would fare better."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a device has no more memory; torch says so of a CPU's in the message alone."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
