import torch

from handler.torchvision_operators import declare_missing


def test_torchvision_is_importable_and_declaring_again_is_harmless() -> None:
    declare_missing()
    declare_missing()
    import torchvision  # noqa: PLC0415 - the import itself is what is tested

    assert torchvision.models.mobilenet_v2 is not None
    assert hasattr(torch.ops.torchvision, "nms")
