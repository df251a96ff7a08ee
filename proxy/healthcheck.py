"""python -m proxy.healthcheck

Asks the service of this machine whether a prediction would succeed, by HTTP or HTTPS as it is set; ends with 0 where it
would, else with 1 and a line that says why. For Docker's HEALTHCHECK: imports little, for it runs every few seconds.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 4.0

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)
"""Addresses that stand for all of the machine's, and one of those."""


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Ask; return the exit status."""
    host, port = environ.get("HOST") or "127.0.0.1", environ.get("PORT") or "7860"
    host = ANY.get(host, host)
    scheme = "https" if environ.get("TLS_CERTFILE") else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/health/ready"
    # Its own certificate is for another name; what is sent is no secret.
    context = ssl._create_unverified_context() if scheme == "https" else None  # noqa: S323
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with direct.open(url, timeout=TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as exc:
        sys.stderr.write(f"{url} answered {exc.code}: {exc.read(1000).decode(errors='replace')}\n")
    except OSError as exc:
        sys.stderr.write(f"{url} does not answer: {exc}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
