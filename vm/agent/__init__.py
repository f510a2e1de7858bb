"""What runs inside the guest: executes operations one by one and observes after each.

Standard library only, and little of that: under TCG every import costs boot time, so
these modules avoid `typing`, `dataclasses`, `enum`, `pathlib` and the like. The agent
is the guest's first process (PID 1); if it dies the kernel panics, which the host sees.
"""
