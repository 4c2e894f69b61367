"""What runs have recorded, read back: tables and figures. Files only, no JAX."""
