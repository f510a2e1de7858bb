"""Campaigns: generated programs for hours, on many guests, with nothing lost."""
