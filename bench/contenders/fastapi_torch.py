"""A plain FastAPI service with torch in process, as the first service was, and as most tutorials write it.

    python -m uvicorn bench.contenders.fastapi_torch:app --port 8000

Pillow to RGB, torchvision's transforms, MobileNetV2 in eager torch, everything at its defaults.
Source: https://docs.pytorch.org/tutorials/intermediate/flask_rest_api_tutorial.html, in FastAPI's words
"""

import io
from typing import Any

import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from bench.contenders.scoring import MODEL_STORE
from handler.torchvision_operators import declare_missing

declare_missing()

from torchvision import transforms  # noqa: E402
from torchvision.models import mobilenet_v2  # noqa: E402

app = FastAPI()
model = mobilenet_v2(num_classes=2)
weights = MODEL_STORE / "pneumonia.safetensors"
with safe_open(weights, framework="pt") as file:
    resolution_px = int(file.metadata()["resolution_px"])
model.load_state_dict({name.removeprefix("mobilenet."): tensor.float() for name, tensor in load_file(weights).items()})
model.eval()
transform = transforms.Compose(
    [
        transforms.Resize((resolution_px, resolution_px)),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    """Screen one film; the score is the softmax, not calibrated."""
    image = Image.open(io.BytesIO(await file.read())).convert("RGB")
    with torch.no_grad():
        logits = model(transform(image).unsqueeze(0))  # (1, 2)
    score = torch.softmax(logits, dim=1)[0, 1].item()
    return {"prediction": "PNEUMONIA" if score > 0.5 else "NORMAL", "score": score}  # noqa: PLR2004
