"""The gate that ships, on the reference films and on pictures that are none."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from handler.contract import ModelContract
from handler.engine import Engine
from handler.gate import Gate
from handler.imaging import decode

STORE = Path("model_store")
REFERENCE = sorted(Path("reference").glob("*.jpeg"))


@pytest.fixture(scope="module", params=[True, False], ids=["float32", "as served"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(STORE / "pneumonia.onnx", exact=request.param)


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate.load(STORE, ModelContract.load(STORE / "contract.json"))


def reasons(gate: Gate, engine: Engine, content: bytes) -> tuple[str, ...]:
    film = decode(content)
    (found,) = gate.reasons([film], engine.screen(film.pixels[None]).statistics)
    return found


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500), dtype=np.uint8))


def photograph(number: int) -> Image.Image:
    return Image.fromarray(load_sample_images().images[number]).convert("L")


def drawing() -> Image.Image:
    image = Image.new("L", (400, 300), 255)
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 40, 220, 240), fill=90, outline=0, width=4)
    draw.rectangle((200, 120, 360, 280), fill=180, outline=0, width=4)
    draw.text((40, 10), "a house and a tree", fill=0)
    return image


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_nothing_speaks_against_a_reference_film(gate: Gate, engine: Engine, path: Path) -> None:
    assert reasons(gate, engine, path.read_bytes()) == ()


@pytest.mark.parametrize(
    "picture", [noise(), photograph(0), photograph(1), drawing()], ids=["noise", "temple", "flower", "drawing"]
)
def test_grey_picture_is_caught(gate: Gate, engine: Engine, picture: Image.Image) -> None:
    assert {"not_a_chest_film", "unlike_training_films"} & set(reasons(gate, engine, png(picture)))


def test_file_is_small() -> None:
    assert (STORE / "gate.npz").stat().st_size < 500_000
