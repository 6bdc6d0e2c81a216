"""The commands, one module each: what they take and what their help says.

Only the one that is called for is loaded, and it imports what it needs when it runs: so `orchestrator --help` answers
at once, and a run begins soon.
"""

from __future__ import annotations

from collections.abc import Mapping

#: In the order of a working day, each with the first line of its help: printing the list loads none of them. Each is
#: what bears its name in the module of its name.
SUMMARIES: Mapping[str, str] = {
    "init": "Write a commented manifest to start from.",
    "schema": "Print the JSON Schema of a manifest.",
    "validate": "Show everything that is wrong with a manifest.",
    "plan": "Show what `run` would do, and why.",
    "run": "Upload a manifest's avatars to MetaStudio.",
    "enqueue": "Queue a manifest's avatars for workers on several hosts.",
    "work": "Upload what is queued, together with workers on other hosts.",
    "fleet": "Manage what workers on several hosts share.",
    "status": "Show the batches, or the entries of one.",
    "submit": "Send uploaded jobs to review.",
    "watch": "Follow jobs through review and training.",
    "retry": "Retry failed entries.",
    "cancel": "Delete jobs and their files.",
    "results": "Write the result of every avatar as a CSV table.",
    "report": "Write a page about a batch, or serve it while a run works.",
    "clean": "Remove finished batches, and delete orphaned jobs.",
    "explain": "Explain a rule: what it checks, why, and how to fix what it finds.",
    "doctor": "Check what a run needs, and show how to fix it.",
    "verify": "Hash the files of a batch again and compare them with what was sent.",
    "simulate": "Serve a simulated MetaStudio on this machine.",
    "demo": "Show a complete upload, without an account.",
    "config": "Show effective settings.",
    "docs": "Print where the documentation is, or a page of it.",
}
#: What other uploaders call it.
ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("upload", "resume"), "run"),
    **dict.fromkeys(("list", "jobs", "show"), "status"),
}
