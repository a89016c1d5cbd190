"""Read the configuration of a saved model, in the current and in the first format."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lgcn.checks import InputError, check_choice
from lgcn.models.config import DetectorConfig, without_start
from lgcn.models.presets import PRESETS
from lgcn.models.refiner_config import NO_REFINER, LearnableConfig, TopologyConfig
from lgcn.options import update
from lgcn.schemes import SCHEMES, define_scheme, scheme_from_dict


def read_config(saved: Any) -> DetectorConfig:
    """Read the output of :meth:`DetectorConfig.saved`, or an untrusted ``config.json``.

    A scheme that the configuration defines is registered, so that its name is known from then on.

    Args:
        saved: a mapping of plain types.

    Returns:
        A configuration that reads no files and downloads nothing when it is built.

    Raises:
        InputError: for a key that this version does not know (lists the choices), a value of a wrong type, or one
            out of bounds.
    """
    if not isinstance(saved, Mapping):
        raise InputError(f"Expected a detector's configuration as a mapping (got {type(saved).__name__}).")
    if "model" in saved:
        raise InputError(
            f"Expected the configuration of a LandmarkDetector (got one with 'model': {saved['model']!r})."
        )
    scheme = saved.get("scheme")
    if isinstance(scheme, Mapping):
        saved = {**saved, "scheme": define_scheme(scheme_from_dict(scheme)).name}
    elif isinstance(scheme, str):
        check_choice("scheme", scheme, SCHEMES.names())  # a file is not read
    if "preset" in saved or "use_refiner" in saved:
        return without_start(_read_first_form(saved))
    return without_start(update(DetectorConfig(), saved))


def saved_scheme(saved: Mapping[str, Any]) -> str:
    """Name of the scheme in the output of :meth:`DetectorConfig.saved`."""
    scheme = saved["scheme"]
    return str(scheme["name"] if isinstance(scheme, Mapping) else scheme)


def _read_first_form(saved: Mapping[str, Any]) -> DetectorConfig:
    """Read the form with a ``preset``, and with the connectivity's name and options next to each other."""
    known = [each.name for each in fields(DetectorConfig)]
    for key in saved:
        check_choice("key", key, [*known, "preset", "use_refiner"])
    changes = {key: value for key, value in saved.items() if key in known}
    refiner = _mapping("refiner", saved.get("refiner", {}))
    options = _mapping("refiner.connectivity_options", refiner.pop("connectivity_options", None) or {})
    name = refiner.pop("connectivity", "learnable")
    sections: dict[Any, type] = {"learnable": LearnableConfig, "topology": TopologyConfig}
    section = {each.name for each in fields(sections[name])} if isinstance(name, str) and name in sections else set()
    refiner["connectivity"] = {"name": name, **{key: value for key, value in options.items() if key not in section}}
    if section:
        refiner["connectivity"][name] = {key: value for key, value in options.items() if key in section}
    if saved.get("use_refiner", True) is False:
        refiner["name"] = NO_REFINER
    return update(PRESETS[saved.get("preset", "paper")], {**changes, "refiner": refiner})


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"Expected '{name}' to map names of options to values (got {value!r}).")
    return dict(value)
