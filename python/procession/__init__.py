"""Python's multiprocessing on a crash-safe shared-memory core."""
