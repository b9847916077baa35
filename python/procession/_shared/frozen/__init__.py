"""Object graphs that nobody changes: laid out once in the arena, read by anybody without a copy."""
