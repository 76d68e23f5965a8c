"""Names inside archives and folders: which are refused, which are images."""

import re

from harness.core.errors import InputError
from harness.core.text import brief
from harness.datasets.decode import SUFFIXES

OTHER_PICTURES = frozenset(
    {".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".heic", ".tga", ".ico", ".psd", ".exr", ".jfif"}
)
"""Pictures that are not read. They are refused by name, since a set without them would be another set."""

DRIVE = re.compile(r"[A-Za-z]:")


def check_member(name: str, where: str) -> None:
    """Refuse a member of an archive whose name is absolute, or climbs out with `..`.

    Raises:
        InputError: it does.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or parts[0] == "" or ".." in parts or DRIVE.match(name):
        raise InputError(f"{where}: member '{brief(name)}' has a name that leaves the archive; refused")


def is_image(name: str, where: str) -> bool:
    """Whether a file, by its name with `/` between folders, is an image of the set.

    Hidden files (`.DS_Store`, `._a.png`, all of `__MACOSX`) and files that are no pictures are not.

    Raises:
        InputError: a picture of a kind that is not read.
    """
    parts = name.split("/")
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    suffix = "." + parts[-1].rpartition(".")[2].lower()
    if suffix in OTHER_PICTURES:
        raise InputError(
            f"{where}: '{brief(name)}' is a picture of a kind that is not read ({', '.join(sorted(SUFFIXES))} are); "
            "convert it, or take it away"
        )
    return suffix in SUFFIXES
