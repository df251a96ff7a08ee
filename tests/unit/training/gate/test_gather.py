import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.gate.gather import Files, projections, read_nifti, sections


def nifti(
    voxels: np.ndarray[tuple[int, int, int], np.dtype[np.int16]], *, order: str = "<", height: float = 1.0
) -> bytes:
    """Return a NIfTI-1 file of voxels (X, Y, Z)."""
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}h", header, 70, 4)
    struct.pack_into(f"{order}4f", header, 76, 1.0, 1.0, 1.0, height)
    struct.pack_into(f"{order}f", header, 108, 352.0)
    return gzip.compress(bytes(header) + voxels.astype(f"{order}i2").tobytes(order="F"))


@pytest.mark.parametrize("order", ["<", ">"])
def test_volume_is_turned_feet_first_and_front_first(tmp_path: Path, order: str) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    (tmp_path / "one.nii.gz").write_bytes(nifti(voxels, order=order))
    volume = read_nifti(tmp_path / "one.nii.gz")
    assert volume.shape == (4, 3, 2)
    assert volume[3, 0, 1] == voxels[1, 2, 3]


def test_volume_is_stretched_to_voxels_as_high_as_wide(tmp_path: Path) -> None:
    (tmp_path / "one.nii.gz").write_bytes(nifti(np.zeros((2, 3, 4), dtype=np.int16), height=2.5))
    assert read_nifti(tmp_path / "one.nii.gz").shape == (10, 3, 2)


def test_sections_and_projections_are_pictures_of_a_size_that_is_screened() -> None:
    volume = np.random.default_rng(0).uniform(-1000, 1000, (20, 24, 28)).astype(np.float32)
    pictures = [*sections(volume, low=-1000, high=1000, each=2), *projections(volume, [0, 90])]
    assert len({name for name, _ in pictures}) == 8
    for _, picture in pictures:
        assert picture.dtype == np.uint8
        assert min(picture.shape) == 256


def test_files_are_spread_evenly_and_small_or_broken_ones_left_out(tmp_path: Path) -> None:
    for number in range(10):
        Image.new("L", (200, 200)).save(tmp_path / f"{number}.png")
    Image.new("L", (10, 200)).save(tmp_path / "small.png")
    Image.new("L", (200, 200)).save(tmp_path / "an icon.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = Files(patterns=("*.png",), take=3, without=("icon",)).find(tmp_path)
    assert [path.name for path in found] == ["0.png", "4.png", "9.png"]
