"""The handler of a stock TorchServe: its own image classifier, with what it cannot know of the model.

Packed into an archive by `bench/stock_archive.py`. As in TorchServe's example of MNIST, a subclass says what is done to
a picture; without one the classifier fails on grey films, asks two classes for their best five, and crops what the
model was not trained with.
Source: https://docs.pytorch.org/serve/default_handlers.html, and examples/image_classifier/mnist of pytorch/serve
"""

from pathlib import Path

from handler.torchvision_operators import declare_missing  # packed beside this file

declare_missing()

from torchvision import transforms  # noqa: E402
from ts.torch_handler.image_classifier import ImageClassifier  # noqa: E402

RESOLUTION_PX = int(Path(__file__).with_name("resolution_px").read_text())  # packed beside this file too


class FilmClassifier(ImageClassifier):
    """Any film, two classes."""

    topk = 2
    image_processing = transforms.Compose(
        [
            transforms.Lambda(lambda image: image.convert("RGB")),
            transforms.Resize((RESOLUTION_PX, RESOLUTION_PX)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
