"""One thread for linear algebra: a sum that is split among threads has other last digits, one split for each number.

A difference in the tenth digit of a value is nothing in itself, but a method that suggests by values would go on from
there to other settings: a study on eight cores would not be the same as on two. Workers have one thread each as it is.
"""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch, BLAS and OpenMP of this process, with one thread for as long as it lasts."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
