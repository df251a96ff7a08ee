"""TorchServe, seen from the proxy: the only place here that knows of it.

process        the JVM: configuration, start, output, end
run_dir        the one folder that a running service writes to, and TorchServe's tokens in it
film_buffer    the memory that films are read into
transport      how films travel from there to the workers: by shared memory, or in the request's body
client         HTTP to TorchServe's two APIs

A film: `FilmBuffer.place` -> `InferenceClient.screen`: `FilmTransport.encode`, TorchServe, `FilmTransport.decode`.
A fault: TorchServe's statuses and broken connections become `UnavailableError` (503, try again) or `UpstreamError`
(502) in `client`; a JVM that ends is seen by `process.TorchServe.wait`, on which `availability.supervisor` waits.
"""
