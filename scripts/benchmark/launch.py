"""Run a command and write what it used: `launch.py USAGE.json COMMAND ...`.

A process of its own, and a small one: Linux counts the memory of whoever starts a command as the command's own peak.
"""

import json
import os
import sys
import time

target, *command = sys.argv[1:]
began = time.monotonic()
process = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(process, 0)
used = {
    "began_at": began,
    "wall_seconds": time.monotonic() - began,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_bytes": usage.ru_maxrss * 1024,
}
with open(target, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be a third of the memory
    json.dump(used, file)
sys.exit(os.waitstatus_to_exitcode(status))
