"""Windows of noise levels in which noise is added: S_tmin <= sigma <= S_tmax."""


def check_window(S_tmin: float, S_tmax: float) -> None:
    """Refuse a window that can hold nothing.

    Raises:
        ValueError: S_tmin is above S_tmax.
    """
    if S_tmin > S_tmax:
        raise ValueError(f"S_tmin is {S_tmin:g} and S_tmax {S_tmax:g}, so noise is added nowhere; exchange them")


def empty_window(S_tmin: float, S_tmax: float) -> str:
    """The beginning of a note on a window that happens to hold nothing."""
    return f"No noise level lies within S_tmin = {S_tmin:g} and S_tmax = {S_tmax:g}"
