"""The command `procession`."""
