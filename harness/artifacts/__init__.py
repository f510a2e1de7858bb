"""What a mismatch leaves: written, packed, and opened again."""
