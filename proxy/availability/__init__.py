"""Whether, and how many, films are let in, and by which version they are screened; the recovery of the service.

admission   how many films wait and are in TorchServe, and for how long
readiness   the state: loading, ready or unavailable; closes and opens admission
prober      screens reference films to find out whether predictions succeed
archive     a model archive: its version, its reference films with their expected results
shadow      has a candidate screen live films too, and compares what it says
release     a version of the model with all of this; brings up another one beside it, and has it take over
supervisor  starts TorchServe, has it probed, starts it anew

A film: `Admission.screen` queues it, hands it to `InferenceClient.screen` with others, and returns its reply.
A fault: a stalled film is given up by `Admission.sweep`. A worker or JVM that dies breaks the requests in it (503); the
prober finds out within a second and `Readiness.failed` closes admission. TorchServe restarts its workers; after a
minute, or when the JVM ends, `Supervisor.run` starts TorchServe anew. Admission opens when all reference films are
right again.
"""
