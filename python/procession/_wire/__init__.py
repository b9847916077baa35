"""How shared things travel between processes, and the standard library's part in it."""
