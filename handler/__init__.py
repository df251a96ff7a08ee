"""What runs inside a TorchServe worker: bytes of a film in, bytes of a JSON answer out.

Imports no other room of the project, so that the archive works in any TorchServe 0.12 that has the packages of
`requirements/handler.txt`; on a GPU, those of `requirements/gpu.txt`. Only `pneumonia_handler` knows of TorchServe; the
rest would serve behind any server.
"""
