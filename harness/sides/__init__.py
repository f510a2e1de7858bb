"""Subjects with a life: they say what they are, come up, keep evidence, and go."""
