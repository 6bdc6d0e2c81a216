"""The life of an entry, driven by facts: creates jobs, uploads, confirms, submits, drains."""
