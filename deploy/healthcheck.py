"""Is the part on this port well? `python healthcheck.py PORT` exits 0 when its /health says 200.

`python healthcheck.py PORT dns` exits 0 when a name server answers there.
"""

from __future__ import annotations

import socket
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


def answers_dns(port: int) -> int:
    """0 for any answer to a question (the SOA of the root, which is refused), 1 for none."""
    question = bytes.fromhex("4d61 0000 0001 0000 0000 0000 00 0006 0001")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(4)
        try:
            client.connect(("127.0.0.1", port))
            client.send(question)
            return int(client.recv(512)[:2] != question[:2])
        except OSError:
            return 1


if __name__ == "__main__":
    check = answers_dns if sys.argv[2:] == ["dns"] else main
    sys.exit(check(int(sys.argv[1])))
