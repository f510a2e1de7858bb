"""Verdicts, made readable."""
