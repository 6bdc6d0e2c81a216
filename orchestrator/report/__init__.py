"""The report page of a batch, as a file or live: what needs a person, every avatar, and the hours of its runs."""
