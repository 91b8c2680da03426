"""Is the part on this port well? `python healthcheck.py PORT` exits 0 when its /health says 200."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException


def main(port: int) -> int:
    """0 for 200, 1 for anything else."""
    # No library that obeys HTTP_PROXY: a container may have one, and it does not lead here.
    connection = HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/health")
        return int(connection.getresponse().status != 200)
    except (OSError, HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
