"""Figures of other systems as they were published: copied, not measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class PublishedFigures:
    """What a publication reports for one dataset.

    Args:
        system: its name.
        dataset: name in :data:`lgcn.datasets.DATASETS`.
        source: where the figures were read.
        nme: column (a subset or a split) -> per cent of the normalising distance.
        fr: column -> per cent of the faces above 0.10.
        auc: column -> area under the cumulative error distribution up to 0.10, a fraction.
        protocol: the named protocol that comes closest to the system's own crop; None where it is not known.
        normalizer: of all figures.
        note: what to know before comparing.
    """

    system: str
    dataset: str
    source: str
    nme: dict[str, float] = field(default_factory=dict)
    fr: dict[str, float] = field(default_factory=dict)
    auc: dict[str, float] = field(default_factory=dict)
    protocol: str | None = None
    normalizer: str = "inter_ocular"
    note: str = ""


_WFLW = ("test", "pose", "expression", "illumination", "make-up", "occlusion", "blur")
_300W = ("full", "common", "challenging")


def _columns(names: Sequence[str], values: Sequence[float | None]) -> dict[str, float]:
    """The columns that there is a figure for; later ones may be left out."""
    return {name: value for name, value in zip(names, values, strict=False) if value is not None}


def _wflw(
    system: str,
    source: str,
    nme: Sequence[float],
    fr: Sequence[float] = (),
    auc: Sequence[float] = (),
    protocol: str | None = None,
    note: str = "",
) -> PublishedFigures:
    nme_of, fr_of, auc_of = (_columns(_WFLW, values) for values in (nme, fr, auc))
    return PublishedFigures(system, "wflw", source, nme_of, fr_of, auc_of, protocol, note=note)


def _ibug300w(
    system: str,
    source: str,
    nme: Sequence[float | None],
    private: dict[str, float] | None = None,
    protocol: str | None = None,
    normalizer: str = "inter_ocular",
    note: str = "",
) -> PublishedFigures:
    """``nme`` as full, common, challenging; ``private`` with the keys "nme", "fr" and "auc"."""
    of_private = {figure: {"private": value} for figure, value in (private or {}).items()}
    return PublishedFigures(
        system,
        "ibug300w",
        source,
        {**_columns(_300W, nme), **of_private.get("nme", {})},
        of_private.get("fr", {}),
        of_private.get("auc", {}),
        protocol,
        normalizer,
        note,
    )


def _test(
    system: str, dataset: str, source: str, nme: float, normalizer: str, protocol: str | None = None, note: str = ""
) -> PublishedFigures:
    """One NME on a split "test"."""
    return PublishedFigures(system, dataset, source, {"test": nme}, {}, {}, protocol, normalizer, note)


_HRNET, _MMPOSE, _TORCHLM = "HRNet-Facial-Landmark-Detection README", "mmpose model zoo", "torchlm README"
_PAPER_1, _PAPER_2 = "the LGCN paper, table 1", "the LGCN paper, table 2"
_STAR = "STAR, table of results in its repository"
_FLIP = "predictions averaged with those of the mirrored picture"

PUBLISHED: tuple[PublishedFigures, ...] = (
    _wflw(
        "LGCN 2022 (the paper)",
        _PAPER_1,
        (4.24, 7.57, 4.47, 4.20, 4.01, 5.03, 4.83),
        (2.68, 15.03, 2.23, 2.44, 0.97, 5.03, 3.36),
        (0.5892, 0.3226, 0.5615, 0.5951, 0.6083, 0.5258, 0.5390),
        protocol="official",
        note="the paper names no crop; that of its released code",
    ),
    _wflw(
        "Li et al. 2020 (HRNetV2-W18)",
        _PAPER_1,
        (4.21, 7.36, 4.49, 4.12, 4.05, 4.98, 4.82),
        (3.04, 15.95, 2.86, 2.72, 1.45, 5.29, 4.01),
        (0.5893, 0.3150, 0.5663, 0.5953, 0.6038, 0.5235, 0.5329),
    ),
    _wflw("HRNetV2-W18", _HRNET, (4.60, 7.86, 4.78, 4.57, 4.26, 5.42, 5.36), (4.64,), protocol="hrnet"),
    _wflw("HRNetV2-W18, mmpose", _MMPOSE, (4.06, 6.97, 4.33, 3.99, 3.94, 4.83, 4.58), protocol="hrnet", note=_FLIP),
    _wflw(
        "HRNetV2-W18 + DARK, mmpose", _MMPOSE, (3.98, 6.98, 4.29, 3.96, 3.89, 4.78, 4.56), protocol="hrnet", note=_FLIP
    ),
    _wflw(
        "HRNetV2-W18 + AWing, mmpose", _MMPOSE, (4.02, 6.94, 4.28, 3.97, 3.87, 4.78, 4.59), protocol="hrnet", note=_FLIP
    ),
    _wflw("RTMPose-m, mmpose", _MMPOSE, (4.01,)),
    _wflw("PIPNet R18", _TORCHLM, (4.47,), protocol="pipnet"),
    _wflw("PIPNet R101", _TORCHLM, (4.31,), protocol="pipnet"),
    _wflw("LAB 2018", _STAR, (5.27,), (7.56,), (0.532,)),
    _wflw("AWing 2019", _STAR, (4.36,), (2.84,), (0.572,)),
    _wflw("LUVLi 2020", _STAR, (4.37,), (3.12,), (0.577,)),
    _wflw(
        "ADNet 2021", "ADNet README", (4.14, 6.96, 4.38, 4.09, 4.05, 5.06, 4.79), (2.72,), (0.602,), protocol="adnet"
    ),
    _wflw("HIH 2021", _STAR, (4.08,), (2.60,), (0.605,)),
    _wflw("SLPT-12 2022", _STAR, (4.128,), (2.72,), (0.596,), protocol="slpt"),
    _wflw("DTLD 2022", _STAR, (4.08,), (2.76,)),
    _wflw(
        "SPIGA 2022",
        "SPIGA README",
        (4.060, 7.141, 4.457, 4.004, 3.809, 4.952, 4.650),
        (2.08, 11.66, 2.23, 1.58, 1.46, 4.48, 2.20),
        (0.6056, 0.3531, 0.5797, 0.6131, 0.6224, 0.5331, 0.5531),
        protocol="spiga",
    ),
    _wflw("STAR 2023", _STAR, (4.02,), (2.32,), (0.605,), protocol="adnet"),
    _wflw("LDEQ 2023", "ORFormer, table in its repository", (3.92,), (2.48,), (0.624,)),
    _wflw("TUFA 2025", "TUFA README", (3.93,), (1.52,), note="trained on several datasets"),
    _wflw("Yang and Yeh 2025", "model card on Hugging Face", (3.97,), (1.96,), (0.608,)),
    _wflw("ORFormer 2025", "ORFormer README", (3.86,), (1.76,), (0.622,)),
    _wflw("D-ViT 2025", "second hand, sotaverified.org", (3.75,)),
    _ibug300w(
        "LGCN 2022 (the paper)",
        _PAPER_2,
        (3.38, 2.95, 5.15),
        {"fr": 0.50, "auc": 0.6024},
        protocol="official",
        note="the paper names no crop; that of its released code",
    ),
    _ibug300w("Li et al. 2020 (HRNetV2-W18)", _PAPER_2, (3.04, 2.62, 4.77), {"fr": 0.33, "auc": 0.6361}),
    _ibug300w("HRNetV2-W18", _HRNET, (3.34, 2.91, 5.11), {"nme": 3.85}, protocol="hrnet"),
    _ibug300w("HRNetV2-W18, mmpose", _MMPOSE, (3.45, 2.92, 5.64), {"nme": 4.10}, protocol="hrnet", note=_FLIP),
    _ibug300w("PIPNet R18", _TORCHLM, (3.36,), protocol="pipnet"),
    _ibug300w("PIPNet R101", _TORCHLM, (3.19,), protocol="pipnet"),
    _ibug300w("LAB 2018", f"{_STAR}; private: {_PAPER_2}", (3.49, 2.98, 5.19), {"fr": 0.83, "auc": 0.5885}),
    _ibug300w(
        "AWing 2019",
        f"{_STAR}; private: {_PAPER_2}",
        (3.07, 2.72, 4.52),
        {"fr": 0.33, "auc": 0.6440},
        normalizer="inter_ocular?",
        note="reported as inter-ocular; its public evaluator normalises by the centres of the eyes",
    ),
    _ibug300w("LUVLi 2020", _STAR, (3.23, 2.76, 5.16)),
    _ibug300w("ADNet 2021", "ADNet README", (2.93, 2.53, 4.58), protocol="adnet"),
    _ibug300w("HIH 2021", _STAR, (3.09, 2.65, 4.89)),
    _ibug300w("SLPT-12 2022", _STAR, (3.17, 2.75, 4.90), protocol="slpt"),
    _ibug300w("DTLD 2022", _STAR, (2.96, 2.59, 4.50)),
    _ibug300w("SPIGA 2022", "SPIGA README", (2.994, 2.587, 4.662), protocol="spiga"),
    _ibug300w("STAR 2023", _STAR, (2.87, 2.52, 4.32), protocol="adnet"),
    _ibug300w("TUFA 2025", "TUFA README", (2.95,), note="trained on several datasets"),
    _ibug300w("Yang and Yeh 2025", "model card on Hugging Face", (2.86,)),
    _ibug300w("ORFormer 2025", "ORFormer README", (2.90, 2.53, 4.43)),
    _ibug300w("D-ViT 2025", "second hand, sotaverified.org", (2.85,)),
    _test("HRNetV2-W18", "cofw", _HRNET, 3.45, "inter_ocular", "hrnet"),
    _test("HRNetV2-W18, mmpose", "cofw", _MMPOSE, 3.48, "inter_ocular", "hrnet", _FLIP),
    _test("PIPNet R18", "cofw", _TORCHLM, 3.31, "inter_ocular", "pipnet"),
    _test("PIPNet R101", "cofw", _TORCHLM, 3.08, "inter_ocular", "pipnet"),
    _test("TUFA 2025", "cofw", "TUFA README", 3.07, "inter_ocular", note="trained on several datasets"),
    _test("AWing 2019", "cofw", _STAR, 4.94, "inter_pupil"),
    _test("ADNet 2021", "cofw", "ADNet README", 4.68, "inter_pupil", "adnet"),
    _test("HIH 2021", "cofw", _STAR, 4.63, "inter_pupil"),
    _test("SLPT-12 2022", "cofw", _STAR, 4.79, "inter_pupil", "slpt"),
    _test("STAR 2023", "cofw", _STAR, 4.62, "inter_pupil", "adnet"),
    _test("Yang and Yeh 2025", "cofw", "model card on Hugging Face", 4.54, "inter_pupil"),
    _test("ORFormer 2025", "cofw", "ORFormer README", 4.46, "inter_pupil"),
    _test("D-ViT 2025", "cofw", "second hand, sotaverified.org", 4.13, "inter_pupil"),
    _test("RTMPose-m, mmpose", "lapa", _MMPOSE, 1.29, "inter_ocular"),
)
"""As collected in November 2026. ``source`` is where a figure was read, which for some is another system's table."""


def published_figures(dataset: str) -> list[PublishedFigures]:
    """What has been published for a dataset, by its name; empty where nothing is known here."""
    return [figures for figures in PUBLISHED if figures.dataset == dataset]


_CSV_COLUMNS = {
    "300w_valid": ("ibug300w", "full"),
    "300w_valid_common": ("ibug300w", "common"),
    "300w_valid_challenge": ("ibug300w", "challenging"),
    "300w_test": ("ibug300w", "private"),
    "wflw_test": ("wflw", "test"),
    "wflw_test_largepose": ("wflw", "pose"),
    "wflw_test_expression": ("wflw", "expression"),
    "wflw_test_illumination": ("wflw", "illumination"),
    "wflw_test_makeup": ("wflw", "make-up"),
    "wflw_test_occlusion": ("wflw", "occlusion"),
    "wflw_test_blur": ("wflw", "blur"),
    "aflw_test": ("aflw19", "test"),
}
"""Name of a file of the public HRNet code without ``face_landmarks_`` and ``.csv`` -> its dataset and column."""


def published_figures_of_csv(splits: Mapping[str, str]) -> list[PublishedFigures]:
    """What has been published for files of the public HRNet code, which are known by their names.

    Args:
        splits: name of a csv file -> the split that its column is called by.

    Returns:
        The figures of the files' datasets, each under the name of the split; subsets keep their names.
    """
    renamed: dict[str, dict[str, str]] = {}
    for name, split in splits.items():
        known = _CSV_COLUMNS.get(name.removeprefix("face_landmarks_").removesuffix(".csv"))
        if known is not None:
            renamed.setdefault(known[0], {})[known[1]] = split
    found = []
    for dataset, names in renamed.items():
        for each in published_figures(dataset):
            nme, fr, auc = (
                {names.get(column, column): value for column, value in figures.items()}
                for figures in (each.nme, each.fr, each.auc)
            )
            found.append(replace(each, nme=nme, fr=fr, auc=auc))
    return found
