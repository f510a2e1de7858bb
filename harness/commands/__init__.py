"""The commands of `ext4diff`, one module each: `add` declares its options, `run` does it."""
