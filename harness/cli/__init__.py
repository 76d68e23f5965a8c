"""The command line: thin commands over library calls, a file a group of commands."""

from harness.cli.main import main

__all__ = ["main"]
