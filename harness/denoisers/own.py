"""Users' own networks: checked against the interface of denoisers before anything is computed with them."""

from harness.core.code import is_code_allowed
from harness.core.errors import InputError
from harness.core.text import told
from harness.denoisers.load import Source, describe, load_denoiser, own_parts
from harness.sampling.conditions import Conditions, read_conditions

_checked: set[tuple[str, str, str | None, bool, bool, str]] = set()


def check_own(
    source: Source, device: str, dtype: str | None = None, conditions: str | Conditions | None = None
) -> None:
    """Load the own networks that a denoiser is made of, and check what samplers rely on; once in a process.

    Args:
        source: of the denoiser; see `harness.denoisers.load`. Without own networks nothing is done.
        device: where it computes.
        dtype: of its arithmetic; None for its own.
        conditions: that it is given, or their file.

    Raises:
        InputError: no permission to run its code, a factory that fails, or a broken promise with the numbers seen.
    """
    for spec in own_parts(source):
        key = (describe(spec).identity, device, dtype, spec.is_trained, is_code_allowed(), repr(conditions))
        if key in _checked:
            continue
        denoiser = load_denoiser(spec, device, dtype)

        from harness.denoisers.check import check_denoiser

        try:
            read = read_conditions(conditions) if isinstance(conditions, str) else conditions
            check_denoiser(denoiser, identity=spec.is_trained, mean=spec.is_trained, conditions=read)
        except AssertionError as error:
            raise InputError(f"{spec.title} breaks a promise of denoisers: {error}") from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{spec.title} fails when it is called: {told(error)}") from error
        _checked.add(key)
