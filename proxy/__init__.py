"""The public face of the service on port 7860, and the keeper of the TorchServe behind it.

http          requests, forms and errors; finds the film in a request
availability  how many films are let in and for how long, whether the service is ready, and its recovery
torchserve    the TorchServe process, the client of its APIs, and how films travel to its workers

control       the commands of `python -m proxy.manage`, through a socket in RUN_DIR
healthcheck   asks a running service whether it is ready; for Docker
keys          the file of API keys
files         how many files may be open, and whether one has changed
machine       what the service needs of the machine: files, memory, disk

Imports go one way: http -> availability -> torchserve -> settings, errors. `__main__` joins them.
"""
