"""Loaded by a forkserver last of all, when it starts for a pool.

The server starts with Ctrl-C blocked, so that one that comes while it loads what it will need does
not end it. Once this is loaded the server is ready, and deals with Ctrl-C by itself; one that came
meanwhile was the program's affair, and is dropped.
"""

from __future__ import annotations

import signal

while signal.SIGINT in signal.sigpending():
    signal.sigwait({signal.SIGINT})
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
