"""Encoders and decoders, one file an architecture."""
