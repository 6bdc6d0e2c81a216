"""The report page in a real browser: how fast it opens, what it asks for, how it looks, who can read it."""
