"""The page about a batch: what needs a person, every avatar, the hours of its runs; as a file, or live."""
