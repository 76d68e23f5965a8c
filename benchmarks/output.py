"""How every benchmark ends: its figures are printed as JSON, and written to a file where one is named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def show(figures: Mapping[str, Any], file: Path | None) -> None:
    """Print figures, and write them to a file; None for none."""
    text = json.dumps(figures, indent=2)
    print(text)
    if file is not None:
        file.write_text(text + "\n")
