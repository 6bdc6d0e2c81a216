"""The preflight page: one self-contained file with pictures, sound, verdict and reasons for every film."""
