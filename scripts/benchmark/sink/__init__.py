"""A store that is cheaper than any client: it takes bodies into one buffer and answers as S3 would.

No signature is checked and nothing is kept but sizes and ETags. `-m benchmark.sink` runs it in a process of its own.
"""
