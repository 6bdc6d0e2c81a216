"""Durable state: tables, migrations, guarded transitions and the lock of each batch."""
