"""What the program costs beyond the bytes: each figure of the real command, in a process of its own."""
