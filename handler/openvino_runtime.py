"""OpenVINO without its telemetry.

`import openvino` sends a message to a host elsewhere, from a process of its own, each time and without asking, unless
it finds that the user has declined (`openvino_telemetry`, https://github.com/openvinotoolkit/telemetry). A service that
holds films of patients talks to nobody. Where that package cannot be imported, OpenVINO sends nothing.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # what makes an import fail

import openvino as ov  # noqa: E402

__all__ = ["ov"]
