"""The kernel's log: its lines, what in them is a complaint, and what ends a guest."""
