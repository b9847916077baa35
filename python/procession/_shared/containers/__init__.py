"""Python faces of the core's containers."""
