"""Durable local state: tables, migrations, guarded transitions and the run lock."""
