"""`harness` in a process and on a path of its own: several commands one after another, to import torch once."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

SESSION = """
import contextlib, io, json, sys

from harness.cli import main

said = []
for arguments in json.loads(sys.argv[1]):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["harness", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


class Said(NamedTuple):
    """What a command ended with and wrote."""

    returncode: int
    stdout: str
    stderr: str


def harness(*commands, path, cwd):
    """Run commands, each a list of words, in one fresh process whose packages come from the folders of `path` first."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, path)), "COLUMNS": "200", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", SESSION, words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [Said(*each) for each in json.loads(done.stdout.splitlines()[-1])]
