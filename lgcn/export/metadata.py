"""What an exported file says about its network: everything that the network's input and output mean."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgcn import __version__
from lgcn.checks import InputError
from lgcn.schemes import LandmarkScheme, define_scheme, get_scheme, scheme_from_dict, scheme_to_dict
from lgcn.schemes.registry import is_shipped
from lgcn.typing import Size

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector

DTYPES = ("uint8", "float32")
OUTPUTS = ("pos", "initial", "confidence", "covariance", "expected_error", "covered", "score")
"""Names of the outputs in order, as in :class:`lgcn.typing.DetectorOutput`; the last four only where they are known."""
PREFIX = "lgcn."


@dataclass(frozen=True)
class ExportMetadata:
    """Properties of an exported detector, which are stored in its file.

    Args:
        scheme: name of the landmark scheme if it is one of this package, else its definition.
        landmarks: name of each landmark, for readers without this package.
        protocol: name of the evaluation protocol whose crop the network was made for.
        crop: that crop, as options of :func:`lgcn.geometry.crop_image`, for readers without this package.
        input_size: (H, W) of the network's input.
        dtype: of the input, ``"uint8"`` or ``"float32"`` in [0, 1].
        refiner: name of the refiner in the file, or None.
        min_confidence: mean confidence below which a detected face is dropped as a false positive.
        version: of this package at export.
    """

    scheme: str | dict[str, Any]
    landmarks: tuple[str, ...]
    protocol: str
    crop: dict[str, Any]
    input_size: Size
    dtype: str
    refiner: str | None
    min_confidence: float
    version: str = __version__

    @classmethod
    def of(cls, detector: "LandmarkDetector", dtype: str) -> "ExportMetadata":
        """The properties of a detector whose input will have this type."""
        scheme, protocol = detector.scheme, detector.protocol
        return cls(
            scheme=scheme.name if is_shipped(scheme) else scheme_to_dict(scheme),
            landmarks=scheme.names,
            protocol=detector.config.protocol,
            crop=dict(protocol.crop_options),
            input_size=detector.input_size,
            dtype=dtype,
            refiner=None if detector.refiner is None else detector.config.refiner.name,
            min_confidence=detector.min_confidence,
        )

    def read_scheme(self) -> LandmarkScheme:
        """The landmark scheme; one that the file defines is registered, so that its name is known from then on.

        Raises:
            InputError: for an unknown name, or a definition that contradicts a registered one.
        """
        return get_scheme(self.scheme) if isinstance(self.scheme, str) else define_scheme(scheme_from_dict(self.scheme))

    def to_strings(self) -> dict[str, str]:
        """Each property as JSON, its name with :data:`PREFIX`: the only form that ONNX knows."""
        return {PREFIX + name: json.dumps(value) for name, value in vars(self).items()}

    @classmethod
    def from_strings(cls, strings: dict[str, str]) -> "ExportMetadata":
        """Read what :meth:`to_strings` wrote.

        Raises:
            InputError: for a property that is missing or damaged.
        """
        values: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            try:
                value = json.loads(strings[PREFIX + name])
            except KeyError:
                raise InputError(f"Expected the property '{PREFIX}{name}' in the file's metadata (got none).") from None
            except ValueError as error:
                raise InputError(f"Expected JSON in the property '{PREFIX}{name}' (got: {error}).") from None
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)
