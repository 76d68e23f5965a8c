"""Whether a module that is in memory was made from its source file as that is now.

A module keeps no copy of its source. Two things tell, in this order:

1. The file's inode has not changed since this process started, so that whatever was imported is what is there.
2. The bytecode file of the module (PEP 3147, PEP 552) was written after the file's last change, and names the source it
   was compiled from: by size and time, or by a hash.

Where neither does, the answer is no. What is not seen: a module that another process imported too, after a change that
this process missed; that import writes the bytecode file anew.
"""

import importlib.util
import os
import struct
import time
from pathlib import Path
from types import ModuleType

HEADER = 16
"""Bytes before the code in a bytecode file: magic number, flags, and eight that identify the source (PEP 552)."""


def _process_start() -> int:
    """When this process started, in nanoseconds of the wall clock; now, where the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19])  # field 22 of proc(5), in clock ticks since the system started
        running = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        running = 0.0
    return time.time_ns() - int(max(running, 0.0) * 1e9)


STARTED = _process_start()
"""When this process started, in nanoseconds."""


def is_current(module: ModuleType, file: Path) -> bool:
    """Whether a module's source file is as it was when the module was imported.

    Args:
        module: a module that is imported.
        file: its source.
    """
    status = file.stat()
    if status.st_ctime_ns < STARTED:
        return True
    cached = getattr(getattr(module, "__spec__", None), "cached", None)
    if not cached:
        return False
    try:
        with Path(cached).open("rb") as opened:
            written, header = os.fstat(opened.fileno()).st_ctime_ns, opened.read(HEADER)
    except OSError:
        return False
    if len(header) < HEADER or header[:4] != importlib.util.MAGIC_NUMBER or written < status.st_ctime_ns:
        return False
    by_hash = struct.unpack("<I", header[4:8])[0] & 1
    if by_hash:
        return header[8:] == importlib.util.source_hash(file.read_bytes())
    return header[8:] == struct.pack("<II", int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
