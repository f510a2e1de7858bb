"""Kernels to test: what names one, where its source comes from, building it, keeping it."""
