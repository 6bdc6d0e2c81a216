"""The journal in a PostgreSQL database, which hosts share."""
