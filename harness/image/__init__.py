"""Images as the harness sees them: canonical form, differences, checks."""
