"""Measurements of images and codes, and what each figure means."""
