"""The first lines of a worker process. Run by path, not imported by name: aioloader may be reachable only by the
parent's ``sys.path``, which comes as the first message. Nothing secret stands in the arguments or the environment.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import sys


def main(channel_number: int, descriptors_number: int, lifeline_number: int) -> None:
    """Take the parent's paths, then serve it until its end of the socket is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the parent until here
    _die_with(lifeline_number)
    channel = socket.socket(fileno=channel_number)
    (length,) = struct.unpack("<I", _receive(channel, 4))
    start = pickle.loads(_receive(channel, length))
    sys.path[:] = start["path"]
    sys.argv[:] = start["argv"]
    if start["cwd"] is not None:
        with contextlib.suppress(OSError):  # deleted meanwhile
            os.chdir(start["cwd"])
    from aioloader.engine.processes.serve import serve

    serve(channel, socket.socket(fileno=descriptors_number), start["board"])


def _receive(channel: socket.socket, nbytes: int) -> bytes:
    parts = bytearray()
    while len(parts) < nbytes:
        part = channel.recv(nbytes - len(parts))
        if not part:
            os._exit(0)  # the parent ended while we were starting
        parts += part
    return bytes(parts)


def _die_with(lifeline: int) -> None:
    """Have the system end us when the parent's end of this pipe is gone, even inside a call that holds the GIL."""
    import fcntl

    if not hasattr(fcntl, "F_SETOWN") or not hasattr(os, "O_ASYNC"):
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)  # SIGIO, which ends who does not handle it


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
