"""Formats that people already have: one module for each format and direction.

Importers turn a text into an `imported.Imported`; exporters turn a program into an
`exported.Exported`. Both say what they could not take along, line by line.
"""
