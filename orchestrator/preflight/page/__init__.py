"""The page to look at: one self-contained file with pictures, sound, verdict and reasons of every film."""
