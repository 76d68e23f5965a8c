"""The user's own settings: one YAML file in the platform's folder for configuration.

    allow_code: true      # run the Python code that grids and commands name, without --allow-code

Nothing else sets them: a grid that came from elsewhere cannot.
"""

import os
from functools import cache, lru_cache
from pathlib import Path

from harness.core import yaml
from harness.core.config import Config
from harness.core.embedded import FileState

VARIABLE = "HARNESS_SETTINGS"
NAME = "diffusion-harness"


class Settings(Config):
    """What a user has settled for all commands.

    Args:
        allow_code: whether Python code that a denoiser or metric names may be run; see `harness.core.code`.
    """

    allow_code: bool = False


def settings_path() -> Path:
    """The file: $HARNESS_SETTINGS, else `settings.yaml` in the platform's folder. It need not exist."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    return _platform_folder() / "settings.yaml"


@cache
def _platform_folder() -> Path:
    import platformdirs

    return platformdirs.user_config_path(NAME, appauthor=False)


def load_settings() -> Settings:
    """The settings, all at their defaults where there is no file.

    Raises:
        InputError: with file, line and remedy.
    """
    path = settings_path()
    try:
        return _read(path, FileState.of(path.stat()))
    except FileNotFoundError:
        return Settings()


@lru_cache(maxsize=1)
def _read(path: Path, state: FileState) -> Settings:
    """The file as it is in this state; every chunk of a run asks for it."""
    return yaml.build(Settings, yaml.load(path))
