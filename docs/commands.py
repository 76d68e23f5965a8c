"""Write the reference of all commands in commands.md from what the program says of itself.

`python docs/commands.py` writes it; with `--check` it writes nothing and fails if the file is out of date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from harness.cli.main import app

PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- written by docs/commands.py: begin -->\n", "<!-- written by docs/commands.py: end -->\n"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    new = before + BEGIN + "\n".join(reference()) + "\n" + END + rest.partition(END)[2]
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        sys.exit("docs/commands.md is out of date; run `python docs/commands.py`")


def reference() -> Iterator[str]:
    """The lines between the two marks: a heading for each group of `harness --help`, a section for each command."""
    panels: dict[str, list[tuple[str, Any]]] = {}
    for name, command in typer.main.get_command(app).commands.items():
        members = getattr(command, "commands", None) or {"": command}
        panels.setdefault(command.rich_help_panel, []).extend(
            (f"{name} {own}".strip(), members[own]) for own in members
        )
    for panel, commands in panels.items():
        yield f"\n## {panel}"
        for name, command in commands:
            yield from section(name, command)


def section(name: str, command: Any) -> Iterator[str]:
    """A command: how it is called, what it does, its arguments and options."""
    given = [parameter for parameter in command.params if parameter.name != "help"]
    words = ["harness", name, *(metavar(parameter) for parameter in given if parameter.param_type_name == "argument")]
    words += [
        f"{parameter.opts[0]} {metavar(parameter)}"
        for parameter in given
        if parameter.required and parameter.param_type_name == "option"
    ]
    yield f"\n### `{' '.join(words)}`\n"
    yield from command.help.strip().splitlines()
    yield "\n| | |\n|---|---|"
    for parameter in given:
        names = ", ".join(f"`{word}`" for word in parameter.opts) if parameter.param_type_name == "option" else ""
        default = "" if is_plain(parameter.default) else f"  [default: {parameter.default}]"
        text = f"{parameter.help or ''}{default}".replace("  [default", " [default").replace("|", "\\|")
        yield f"| {names or f'`{metavar(parameter)}`'} | {text} |"


def metavar(parameter: Any) -> str:
    word = parameter.metavar or parameter.name.upper()
    return word if parameter.required else f"[{word}]"


def is_plain(default: Any) -> bool:
    """Whether a default needs no mention: none, a switch that is off, or empty."""
    return default is None or default is False or default in ("", [], ())


if __name__ == "__main__":
    main()
