"""The public API on port 7860: requests, forms and errors.

protocol    uvicorn's HTTP protocol with edges of ours
cut_off     counts the connections that are cut off, and logs them
server      uvicorn's server and the public socket
request_id  an id on every answer and log line
app         routes, and the documentation at /docs
predict     POST /predict
page        the page at /, whose files are in proxy/page
form        finds the film in a request's body
access      API keys and the rate limit
metrics     Prometheus metrics and the access log
tracing     spans of requests, where a collector is named
answer      an answer or an error, written straight to ASGI
schemas     the answers as the OpenAPI page shows them

A film: `protocol` -> `RequestId` -> `Observe` -> `Access` -> `Predict`: `form.read_film` reads it into the buffer,
`Admission.screen` has it screened, and the reply's JSON is passed on as it is.
A fault: whatever refuses a film raises a `RequestError` of `proxy.errors`, which knows its status, code and headers;
`Predict` and `app` write it as `{"error": {"code", "message"}}`.
"""
