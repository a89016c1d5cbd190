"""The 19 cephalometric landmarks of the ISBI challenges of 2014 and 2015 (Wang et al. 2016), in their order."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

CEPHALOMETRIC19 = LandmarkScheme(
    name="cephalometric19",
    names=(
        *("sella", "nasion", "orbitale", "porion", "subspinale", "supramentale", "pogonion", "menton", "gnathion"),
        *("gonion", "lower_incisal_incision", "upper_incisal_incision", "upper_lip", "lower_lip", "subnasale"),
        *("soft_tissue_pogonion", "posterior_nasal_spine", "anterior_nasal_spine", "articulare"),
    ),
    # Lateral radiographs: the mirror image of a landmark is the same landmark.
    contours=(
        Contour("cranial_base", (1, 0, 18)),
        Contour("frankfort_plane", (3, 2)),
        Contour("palatal_plane", (16, 17, 4)),
        Contour("mandible", (18, 9, 7, 8, 6, 5)),
        Contour("incisors", (11, 10)),
        Contour("profile", (14, 12, 13, 15)),
    ),
    # The challenge measures millimetres, which need the pixel spacing; sella to nasion is the length that lies in every
    # radiograph.
    normalizers={"sella_nasion": ((0,), (1,))},
    default_normalizer="box",
    subject="skull",
)
