"""Forms built from a spec's settings."""
