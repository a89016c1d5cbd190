"""Presets on the command line: the options of a preset are the defaults that a recipe and other arguments change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from lgcn.models import PRESETS

DEFAULT_PRESET = "paper"


def find_preset(argv: Sequence[str]) -> str:
    """Return the preset that the arguments of ``lgcn fit`` name, by ``--preset`` or in a configuration file.

    The last one counts, as for every other option.

    Args:
        argv: with the paths of configuration files.

    Raises:
        InputError: for an unknown preset (lists the choices).
    """
    found = DEFAULT_PRESET
    for option, value in _options(argv):
        if option == "--preset":
            found = value
        elif option in {"--config", "-c"}:
            found = _preset_in(value) or found
    PRESETS[found]
    return found


def preset_defaults(name: str) -> dict[str, Any]:
    """Return the options of a preset's detector by the keys that the parser of ``lgcn fit`` has for them."""
    config = PRESETS[name]
    return {
        **_flat("model.detector.codec", asdict(config.codec)),
        **_flat("model.detector.refiner", asdict(config.refiner)),
    }


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        yield option, value if equals else following


def _preset_in(path: str) -> str | None:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # the parser says what is wrong with it
    preset = content.get("preset") if isinstance(content, Mapping) else None
    return None if preset is None else str(preset)


def _flat(path: str, values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        # The options of a custom class are one value, a mapping.
        flat |= _flat(f"{path}.{name}", value) if value and isinstance(value, dict) else {f"{path}.{name}": value}
    return flat
