"""Registry of landmark schemes."""

from dataclasses import fields
from pathlib import Path

from lgcn.checks import InputError
from lgcn.registry import Registry
from lgcn.schemes.aflw19 import AFLW19
from lgcn.schemes.cephalometric19 import CEPHALOMETRIC19
from lgcn.schemes.coco17 import COCO17
from lgcn.schemes.cofw29 import COFW29
from lgcn.schemes.definition import SUFFIXES, read_scheme
from lgcn.schemes.hand21 import HAND21
from lgcn.schemes.ibug68 import IBUG68
from lgcn.schemes.lapa106 import LAPA106
from lgcn.schemes.scheme import LandmarkScheme
from lgcn.schemes.wflw98 import WFLW98

SCHEMES: Registry[LandmarkScheme] = Registry("scheme")
"""name -> scheme; configs and checkpoints refer to registered schemes."""

_SHIPPED = {each.name: each for each in (IBUG68, WFLW98, COFW29, AFLW19, LAPA106, COCO17, HAND21, CEPHALOMETRIC19)}

for _scheme in _SHIPPED.values():
    SCHEMES.register(_scheme.name, _scheme)


def get_scheme(scheme: str | Path | LandmarkScheme) -> LandmarkScheme:
    """Return a scheme by its name, or from a file.

    Args:
        scheme: a registered name, or a file that ends in .yaml, .yml or .json (see
            :func:`lgcn.schemes.scheme_from_dict`), whose scheme is registered. A scheme is returned unchanged.

    Raises:
        InputError: for an unknown name (lists the known), or a file with a scheme that differs from the registered one
            of its name.
        InputFileError: if the file does not hold a scheme.
    """
    if isinstance(scheme, LandmarkScheme):
        return scheme
    return define_scheme(read_scheme(scheme)) if str(scheme).endswith(SUFFIXES) else SCHEMES[str(scheme)]


def define_scheme(scheme: LandmarkScheme) -> LandmarkScheme:
    """Register a scheme under its name, unless the same scheme is registered already; returns it.

    Raises:
        InputError: if another scheme has this name.
    """
    if scheme.name not in SCHEMES:
        return SCHEMES.register(scheme.name, scheme)
    known = SCHEMES[scheme.name]
    if known != scheme:
        differing = [each.name for each in fields(scheme) if getattr(scheme, each.name) != getattr(known, each.name)]
        raise InputError(
            f"Expected a scheme '{scheme.name}' that is the registered one of this name (got other values of "
            f"{', '.join(differing)}). Give one of them another name, or use the same definition for both: a model has "
            "its own in its config.json."
        )
    return known


def is_shipped(scheme: LandmarkScheme) -> bool:
    """Whether the scheme is part of the package: its name alone defines it in every process."""
    return _SHIPPED.get(scheme.name) == scheme
