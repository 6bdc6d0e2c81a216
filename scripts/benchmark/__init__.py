"""The benchmark: a testbed of other processes, the contenders, and what they cost."""
