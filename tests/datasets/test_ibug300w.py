import warnings
from pathlib import Path

import pytest
import torch

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import DATASETS, IBUG300W, read_pts, write_pts


def test_splits_join_their_folders_in_order(make_folder) -> None:
    for folder in ("ibug", "lfpw/testset", "helen/testset", "afw", "lfpw/trainset", "helen/trainset"):
        root = make_folder(folder, count=3)

    def folders(split: str) -> list[str]:
        return list(dict.fromkeys(image_id.rpartition("/")[0] for image_id in IBUG300W(root, split).image_ids))

    assert folders("train") == ["afw", "helen/trainset", "lfpw/trainset"]
    assert folders("common") == ["helen/testset", "lfpw/testset"]
    assert folders("challenging") == ["ibug"]
    assert folders("full") == ["helen/testset", "lfpw/testset", "ibug"]
    assert folders("lfpw/testset") == ["lfpw/testset"]
    assert folders("lfpw/testset, helen/testset/") == ["lfpw/testset", "helen/testset"]
    assert folders("common,challenging") == folders("full")
    assert len(IBUG300W(root, "ibug,challenging")) == 3


def test_points_become_zero_based_as_the_protocol_says(make_folder) -> None:
    root = make_folder("ibug", count=1)
    raw = read_pts(next(root.glob("ibug/*.pts")))
    zero_based, as_it_stands = IBUG300W(root, "ibug")[0], IBUG300W(root, "ibug", protocol="hrnet")[0]
    torch.testing.assert_close(zero_based.y, raw - 1)
    torch.testing.assert_close(as_it_stands.y, raw)
    assert zero_based.bbox[0, 0] == (raw[:, 0].min() - 1).floor()
    assert zero_based.bbox[0, 3] == (raw[:, 1].max() - 1).ceil()
    torch.testing.assert_close(zero_based.normalizer[0], torch.dist(raw[36], raw[45]))
    pupil = IBUG300W(root, "ibug", normalizer="inter_pupil")[0]
    torch.testing.assert_close(pupil.normalizer[0], torch.dist(raw[36:42].mean(0), raw[42:48].mean(0)))


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".bmp"])
def test_image_suffixes(make_folder, suffix: str) -> None:
    root = make_folder("ibug", suffix=suffix)
    dataset = IBUG300W(root, "ibug")
    assert len(dataset) == 2
    assert dataset[0].image.shape == (1, 3, 40, 50)
    assert dataset[1].image_id == f"ibug/4_1{suffix}"


def test_hidden_and_other_files_are_no_images(make_folder) -> None:
    root = make_folder("ibug")
    (root / "ibug" / "._4_0.png").touch()
    (root / "ibug" / "readme.txt").touch()
    assert len(IBUG300W(root, "ibug")) == 2


def test_any_folder_has_no_expected_length(make_folder) -> None:
    root = make_folder("mine/inner")
    dataset = IBUG300W(root, "mine/inner")
    assert dataset.expected_len is None
    assert dataset.completeness() == (2, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset.warn_if_incomplete()


def test_incomplete_splits_load_and_say_so(make_folder) -> None:
    root = make_folder("lfpw/testset", count=2)
    dataset = IBUG300W(root, "common")
    found, expected, message = dataset.completeness()
    assert (found, expected) == (2, 554)
    assert message == (
        "split 'common': 2 of 554 faces (missing folders: helen/testset; incomplete folders: lfpw/testset 2 of 224)"
    )
    with pytest.warns(UserWarning, match="2 of 554 faces"):
        dataset.warn_if_incomplete()
    assert IBUG300W(root, "common")[:1].completeness().found == 2


def test_published_sizes(make_folder) -> None:
    root = make_folder("ibug")
    for folder in ("afw", "helen/testset"):
        make_folder(folder, count=1)
    make_folder("300W/01_Indoor", count=1)
    published = {"train": 3148, "common": 554, "challenging": 135, "full": 689, "private": 600}
    assert dict(IBUG300W.splits) == published
    expected = {**published, "ibug": 135, "afw": 337}
    assert {split: IBUG300W(root, split).expected_len for split in expected} == expected


def test_subsets_of_the_full_and_the_private_set(make_folder) -> None:
    for folder in ("ibug", "lfpw/testset", "helen/testset", "300W/01_Indoor", "300W/02_Outdoor"):
        root = make_folder(folder, count=1)

    def subsets(split: str) -> dict[str, list[bool]]:
        return {name: mask.tolist() for name, mask in IBUG300W(root, split).subsets.items()}

    full = {"common": [True, True, False], "challenging": [False, False, True]}
    assert subsets("full") == full
    assert subsets("common,challenging") == full
    assert subsets("private") == {"indoor": [True, False], "outdoor": [False, True]}
    assert subsets("common") == {}
    assert IBUG300W(root, "full").published_subset_sizes == {"common": 554, "challenging": 135}
    assert IBUG300W(root, "private").published_subset_sizes == {"indoor": 300, "outdoor": 300}
    assert IBUG300W(root, "ibug").published_subset_sizes == {}


@pytest.mark.parametrize("place", ["", "300W_test", "300w_cropped", "test"])
def test_the_private_set_in_its_usual_places(make_folder, place: str) -> None:
    for folder in ("01_Indoor", "02_Outdoor"):
        root = make_folder(f"{place}/{folder}".lstrip("/"), count=2)
    dataset = IBUG300W(root, "private")
    assert len(dataset) == 4
    assert dataset.subsets["indoor"].tolist() == [True, True, False, False]
    assert dataset.completeness().message == (
        "split 'private': 4 of 600 faces (incomplete folders: 300W/01_Indoor 2 of 300, 300W/02_Outdoor 2 of 300)"
    )


def test_an_image_without_points(make_folder) -> None:
    root = make_folder("afw", count=5)
    for path in sorted(root.glob("afw/*.pts"))[1:]:
        path.unlink()
    with pytest.raises(InputFileError, match=r"3_1\.png.*3_2\.png.*3_3\.png' and 1 more"):
        IBUG300W(root, "train")


def test_a_file_with_67_points_or_nan(make_folder) -> None:
    root = make_folder("afw", points=67)
    with pytest.raises(InputFileError, match=r"Expected 68 points in .*3_0\.pts.*got 67"):
        IBUG300W(root, "afw")
    write_pts(root / "afw" / "3_0.pts", torch.full((68, 2), torch.nan))
    with pytest.raises(InputFileError, match=r"3_0\.pts.*nan"):
        IBUG300W(root, "afw")


def test_a_truncated_image_is_named_on_access(make_folder) -> None:
    root = make_folder("afw", count=1)
    path = root / "afw" / "3_0.png"
    path.write_bytes(path.read_bytes()[:60])
    dataset = IBUG300W(root, "afw")
    with pytest.raises(InputFileError, match=r"3_0\.png"):
        dataset[0]


def test_a_missing_root_describes_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"(?s)nowhere.*'afw', 'helen/trainset', 'lfpw/trainset'.*'ibug'"):
        IBUG300W(tmp_path / "nowhere")


def test_an_unknown_split_lists_choices_and_folders(make_folder) -> None:
    root = make_folder("lfpw/testset")
    for split in ("test", "", "common,test", str(root)):
        with pytest.raises(InputFileError, match="train, common, challenging, full, private.*there: 'lfpw/testset'"):
            IBUG300W(root, split)


def test_a_split_of_which_nothing_is_there(make_folder, tmp_path: Path) -> None:
    root = make_folder("lfpw/testset")
    with pytest.raises(InputFileError, match=r"split 'train' in 'afw'.*got none.*there: 'lfpw/testset'"):
        IBUG300W(root, "train")
    with pytest.raises(InputFileError, match="there: '300w/lfpw/testset'"):
        IBUG300W(root.parent, "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match="No folder under it"):
        IBUG300W(tmp_path / "empty", "common")


def test_lookup_by_name() -> None:
    assert DATASETS["ibug300w"] is IBUG300W
    assert "ibug300w" in DATASETS
    with pytest.raises(InputError, match="ibug300w"):
        DATASETS["300w"]


def test_the_real_faces(shared: Path) -> None:
    root = shared / "data" / "300w"
    train, test = IBUG300W(root, "train"), IBUG300W(root, "lfpw/testset")
    assert (len(train), len(test)) == (2012, 224)
    assert test.completeness() == (224, 224, None)
    assert IBUG300W(root, "common").completeness().message == (
        "split 'common': 224 of 554 faces (missing folders: helen/testset)"
    )
    # A landmark further out than this would mean wrong axes or a wrong origin: the images end near the boxes.
    sizes = torch.tensor([dataset[0].image.shape[-2:] for dataset in (train, test)]).flip(-1)
    assert (torch.stack([train.pos[0], test.pos[0]]) < sizes[:, None] + 20).all()
    # Jaw below brows, subject's right eye left of the left one, in every face of this set.
    assert (test.pos[:, 8, 1] > test.pos[:, 17:27, 1].amax(-1)).all()
    assert (test.pos[:, 36, 0] < test.pos[:, 45, 0]).all()
