"""Registry of landmark schemes."""

from lgcn.registry import Registry
from lgcn.schemes.aflw19 import AFLW19
from lgcn.schemes.coco17 import COCO17
from lgcn.schemes.cofw29 import COFW29
from lgcn.schemes.ibug68 import IBUG68
from lgcn.schemes.lapa106 import LAPA106
from lgcn.schemes.scheme import LandmarkScheme
from lgcn.schemes.wflw98 import WFLW98

SCHEMES: Registry[LandmarkScheme] = Registry("scheme")
"""name -> scheme; configs and checkpoints refer to registered schemes."""


def get_scheme(scheme: str | LandmarkScheme) -> LandmarkScheme:
    """Return the scheme of that name; return a scheme unchanged.

    Raises:
        InputError: listing the known names.
    """
    return scheme if isinstance(scheme, LandmarkScheme) else SCHEMES[scheme]


for _scheme in (IBUG68, WFLW98, COFW29, AFLW19, LAPA106, COCO17):
    SCHEMES.register(_scheme.name, _scheme)
