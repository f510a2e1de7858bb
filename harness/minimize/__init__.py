"""Minimizing: the shortest and simplest workload that still shows the same mismatch.

`search` tries candidates, `oracle` asks the two sides about each; `operations`, `arguments`
and `configs` make candidates, and `simplicity` says what counts as simpler.
"""
