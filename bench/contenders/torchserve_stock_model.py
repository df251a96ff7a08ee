"""The model file of the stock TorchServe's archive, which wants exactly one class.

Source: examples/image_classifier/resnet_18 of pytorch/serve
"""

from torchvision.models.mobilenetv2 import MobileNetV2


class FilmNet(MobileNetV2):
    """MobileNetV2 for two classes."""

    def __init__(self) -> None:
        super().__init__(num_classes=2)
