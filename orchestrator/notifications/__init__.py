"""Messages to people and programs about a batch, each sent once: what is said of what, to whom, and when."""
